"""SQS calls for the standard queue of results."""

from collections.abc import Iterable, Sequence

from asyncbuild.aws.classify import sqs_errors as errors_of
from asyncbuild.domain.errors import Retry, reading
from asyncbuild.domain.model import Message
from asyncbuild.queue.received_message import received_message
from asyncbuild.queue.sqs import Queue

RECEIVE_MOST = 10  # of one call (API reference, ReceiveMessage)


class ResultQueue(Queue):
    """The queue of results and its dead-letter queue: standard queues, without order and groups.

    A refused delete or change of one message is not an error: its handle is of an earlier delivery,
    and the message comes again, which changes nothing.
    """

    async def receive_some(self, *, wait_seconds: int, visibility_seconds: int) -> list[Message]:
        """Return the messages of one long poll, at most ten.

        Args:
            wait_seconds: Length of the poll.
            visibility_seconds: Visibility timeout of the messages.

        Raises:
            StageError: SQS refused, or cannot be reached.
        """
        with errors_of(f"receive from queue {self._url}"):
            answer = await self._polls.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=RECEIVE_MOST,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=visibility_seconds,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            )
        with reading("the answer to ReceiveMessage", raises=Retry, peer="sqs"):
            return [received_message(item) for item in answer.get("Messages", [])]

    async def delete_all(self, messages: Sequence[Message]) -> None:
        """Delete up to ten messages whose results are recorded.

        Raises:
            StageError: SQS refused the whole call, or cannot be reached.
        """
        if not messages:
            return
        entries = [
            {"Id": str(n), "ReceiptHandle": message.receipt_handle}
            for n, message in enumerate(messages)
        ]
        with errors_of(f"delete {len(messages)} messages of queue {self._url}"):
            await self._control.delete_message_batch(
                QueueUrl=self._url,
                Entries=entries,  # type: ignore[arg-type] # the call takes plain dicts
            )

    async def hide_all(self, hidden: Iterable[tuple[Message, int]]) -> None:
        """Set the visibility timeouts of up to ten messages, each in seconds.

        Raises:
            StageError: SQS refused the whole call, or cannot be reached.
        """
        entries = [
            {"Id": str(n), "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": seconds}
            for n, (message, seconds) in enumerate(hidden)
        ]
        if not entries:
            return
        with errors_of(f"change the visibility of {len(entries)} messages"):
            await self._control.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=entries,  # type: ignore[arg-type] # the call takes plain dicts
            )
