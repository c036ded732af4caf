"""Sender of pushes that were found to the queue of pushes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from asyncbuild.aws.classify import sqs_errors as errors_of
from asyncbuild.builds.service_mark import ServiceMark
from asyncbuild.domain.errors import Retry
from asyncbuild.domain.requests.push_request import PushRequest, dump_request
from asyncbuild.runtime.clock import Clock, utc_now

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

_AT_ONCE: Final = 10  # of one call (SQS API reference, SendMessageBatch)


class FoundSender:
    """Sends pushes in the message group of their repository: they are decided in their turn (I2).

    Args:
        client: Client for SQS.
        url: URL of the queue of pushes.
        mark: Tells whether older tasks may run, which would make a dead letter of what is sent;
            None if there are none.
        clock: Clock.
    """

    def __init__(
        self,
        client: "SQSClient",
        url: str,
        mark: ServiceMark | None = None,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._client = client
        self._url = url
        self._mark = mark
        self._clock = clock

    async def send(self, requests: Sequence[PushRequest], *, group: str) -> None:
        """Send pushes of one repository, in their order.

        Args:
            requests: The pushes.
            group: Message group of the repository.

        Raises:
            Busy: Older tasks may still run: nothing was sent.
            StageError: Not all of them are in the queue; sending them again changes nothing.
        """
        if self._mark is not None:
            await self._mark.require(self._clock())
        for first in range(0, len(requests), _AT_ONCE):
            await self._send_some(requests[first : first + _AT_ONCE], group)

    async def _send_some(self, requests: Sequence[PushRequest], group: str) -> None:
        entries: Any = [
            {
                "Id": str(number),
                "MessageBody": dump_request(each).decode(),
                "MessageGroupId": group,
                "MessageDeduplicationId": each.id,
            }
            for number, each in enumerate(requests)
        ]
        doing = f"send {len(entries)} pushes that were found to queue {self._url}"
        with errors_of(doing):
            answer = await self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        if failed := answer.get("Failed"):
            raise Retry(f"{doing}: {failed[0].get('Code')}", peer="sqs")
