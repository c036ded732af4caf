"""SQS calls of the service, by the Developer Guide, "FIFO queue delivery logic", and the API."""

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asyncbuild.aws.classify import sqs_errors as errors_of
from asyncbuild.domain.errors import (
    ConfigError,
    Kind,
    LeaseLost,
    NoPermission,
    Reject,
    Retry,
    StageError,
    reading,
)
from asyncbuild.domain.events.push_events import PushDeadLetterShortened
from asyncbuild.domain.model import Message
from asyncbuild.queue.lane.dead_letter import Fitted, fit, size_of_body
from asyncbuild.queue.lane.lease_clock import Renewal
from asyncbuild.queue.lane.queue_facts import (
    MOST_BYTES,
    OLD_MOST_BYTES,
    QueueFacts,
    facts_of,
    largest_message,
)
from asyncbuild.queue.received_message import received_message
from asyncbuild.runtime.emit import emit

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

# The handle belongs to an earlier delivery, or the visibility timeout ran out.
LOST = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "InvalidIdFormat",  # of DeleteMessage: "not valid for the current version"
        "MessageNotInflight",
        "InvalidParameterValue",
        "AWS.SimpleQueueService.MessageNotInflight",
    }
)


class Queue:
    """One FIFO queue and its dead-letter queue.

    Args:
        polls, control: Clients for long polls, and for all other calls; or one client, if its pool
            is large enough for both: a renewal must never wait behind a long poll.
        url: URL of the queue.
        dead_letter_url: URL of its dead-letter queue; None to take the redrive policy's.
    """

    def __init__(
        self,
        *,
        polls: "SQSClient",
        control: "SQSClient",
        url: str,
        dead_letter_url: str | None = None,
    ) -> None:
        self._polls = polls
        self._control = control
        self._url = url
        self._dead_letter_url = dead_letter_url
        self._dead_letter_bytes: int | None = None  # its MaximumMessageSize, once it was asked

    async def attributes(self) -> Mapping[str, str]:
        """Return all attributes of the queue, named as in GetQueueAttributes."""
        with errors_of(f"read the attributes of queue {self._url}"):
            answer = await self._control.get_queue_attributes(
                QueueUrl=self._url, AttributeNames=["All"]
            )
        return {str(name): value for name, value in answer["Attributes"].items()}

    async def facts(self) -> QueueFacts:
        """Return the attributes of the queue that the service uses."""
        return facts_of(await self.attributes())

    async def depth(self) -> tuple[int, int, int]:
        """Return messages waiting, messages in flight, and dead letters, as SQS estimates them.

        Raises:
            StageError: SQS refused, or cannot be reached.
        """
        waiting, held = await self._count(self._url)
        dead_letters = 0
        if self._dead_letter_url is not None:
            dead_letters = sum(await self._count(self._dead_letter_url))
        return waiting, held, dead_letters

    async def _count(self, url: str) -> tuple[int, int]:
        with errors_of(f"count the messages of queue {url}"):
            answer = await self._control.get_queue_attributes(
                QueueUrl=url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                ],
            )
        with reading(f"the number of messages of queue {url}", raises=Retry, peer="sqs"):
            attributes = answer["Attributes"]
            return (
                int(attributes["ApproximateNumberOfMessages"]),
                int(attributes["ApproximateNumberOfMessagesNotVisible"]),
            )

    async def find_dead_letter_queue(self, facts: QueueFacts) -> str:
        """Return the dead-letter queue's URL: the configured one, or the redrive policy's.

        Raises:
            ConfigError: There is neither.
        """
        if self._dead_letter_url is None:
            if facts.dead_letter_arn is None:
                raise ConfigError(
                    f"queue {self._url} has no dead-letter queue",
                    remedy="give it a RedrivePolicy, or set queue.dead_letter_url",
                )
            account, name = facts.dead_letter_arn.rsplit(":", 2)[-2:]
            with errors_of(f"find dead-letter queue {facts.dead_letter_arn}"):
                answer = await self._control.get_queue_url(
                    QueueName=name, QueueOwnerAWSAccountId=account
                )
            self._dead_letter_url = answer["QueueUrl"]
        return self._dead_letter_url

    async def receive(
        self, *, most: int, wait_seconds: int, visibility_seconds: int
    ) -> list[Message]:
        """Return the messages of one long poll.

        Each call has a new attempt id: when botocore repeats a call whose answer was lost, it then
        gets the same messages again instead of a locked group.

        A poll that is cancelled, which only the hard end of a shutdown does, may have received
        messages: they come back when their visibility timeout is over. They are not asked for again
        by the same id: a server that continues the cancelled poll may find messages after it has
        answered, and one that does not know the id returns others.

        Args:
            most: Most messages.
            wait_seconds: Length of the poll.
            visibility_seconds: Visibility timeout of the messages.
        """
        with errors_of(f"receive from queue {self._url}"):
            answer = await self._polls.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=most,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=visibility_seconds,
                MessageSystemAttributeNames=[
                    "MessageGroupId",
                    "SequenceNumber",
                    "ApproximateReceiveCount",
                    "SentTimestamp",
                ],
                MessageAttributeNames=["All"],  # headers of a webhook
                ReceiveRequestAttemptId=uuid.uuid4().hex,
            )
        with reading("the answer to ReceiveMessage", raises=Retry, peer="sqs"):
            return [received_message(item) for item in answer.get("Messages", [])]

    async def renew(self, messages: Sequence[Message], *, seconds: int) -> Renewal:
        """Set the visibility timeout of up to ten messages; 0 makes them visible.

        Raises:
            StageError: The whole call failed.
        """
        entries = [
            {"Id": str(n), "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": seconds}
            for n, message in enumerate(messages)
        ]
        with errors_of(f"change the visibility of {len(messages)} messages"):
            answer = await self._control.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=entries,  # type: ignore[arg-type] # the call takes plain dicts
            )
        with reading("the answer to ChangeMessageVisibilityBatch", raises=Retry, peer="sqs"):
            refusals = answer.get("Failed", [])
            codes = {messages[int(each["Id"])].id: each["Code"] for each in refusals}
        lost = frozenset(id_ for id_, code in codes.items() if code in LOST)
        failed = frozenset(codes) - lost
        refused = ", ".join(sorted({codes[id_] for id_ in failed}))
        return Renewal(lost, failed, f"visibility of {len(failed)} messages not changed: {refused}")

    async def release(self, messages: Sequence[Message], *, hidden_seconds: int = 0) -> None:
        """Make messages visible one after the other, in the order given: tail first, head last.

        One call each: within one batch SQS promises no order, and if the head were visible first,
        the group would be opened with its tail still locked. For the same reason the first failure
        ends it. Messages that are not ours any more are skipped.

        Args:
            messages: Messages of one group.
            hidden_seconds: How long the last of them stays hidden: a group is delivered up to its
                first hidden message, so its head hides all of it.

        Raises:
            StageError: A message could not be released, nor were those after it.
        """
        for message in messages:
            seconds = hidden_seconds if message is messages[-1] else 0
            answer = await self.renew([message], seconds=seconds)
            if answer.failed:
                raise Retry(answer.reason)

    async def delete(self, message: Message) -> None:
        """Delete a message whose outcome is recorded.

        Raises:
            LeaseLost: The queue refuses the receipt handle.
            StageError: SQS cannot be reached.
        """
        try:
            # A refused delete concerns the handle or the connection, never the push.
            with errors_of(f"delete message {message.id}", instead={Reject: Retry}):
                await self._control.delete_message(
                    QueueUrl=self._url, ReceiptHandle=message.receipt_handle
                )
        except StageError as error:
            if error.code not in LOST:
                raise
            raise LeaseLost(
                f"the queue refuses the receipt handle of message {message.id}", code=error.code
            ) from error

    async def dead_letter(
        self, message: Message, *, kind: Kind, reason: str, attempts: int
    ) -> None:
        """Send a message to the dead-letter queue: same group, same body, and the reason.

        The deduplication id is the original message's id, so that SQS drops a repetition within
        five minutes. If the body leaves little room, the reason is cut, or other attributes are
        left out, with a warning.

        Args:
            message: The message.
            kind: Kind of the error.
            reason: The error's text, for people.
            attempts: Number of counted attempts.

        Raises:
            Retry: That queue accepts no message as long as this body; the remedy names the setting.
            StageError: SQS refused, or cannot be reached.
        """
        limit_bytes, body_bytes = await self._dead_letter_limit(message), size_of_body(message)
        doing = f"send message {message.id} to dead-letter queue {self._dead_letter_url}"
        if body_bytes > limit_bytes:
            self._dead_letter_bytes = None  # it may be raised before the next try
            raise Retry(
                f"{doing}: its body has {body_bytes} bytes, and the queue takes {limit_bytes}",
                remedy=f"set MaximumMessageSize of the dead-letter queue to {MOST_BYTES}",
                peer="sqs",
            )
        # If the queue refuses less than its own limit, send less, down to the body alone.
        lower = {limit_bytes, min(limit_bytes, OLD_MOST_BYTES), body_bytes}
        for limit in sorted((each for each in lower if each >= body_bytes), reverse=True):
            fitted = fit(message, kind=kind, reason=reason, attempts=attempts, limit_bytes=limit)
            try:
                with errors_of(doing):
                    await self._send_dead_letter(message, fitted)
            except StageError as error:
                self._dead_letter_bytes = None  # it may have been lowered
                if error.code != "InvalidParameterValue" or limit == body_bytes:
                    raise
            else:
                return

    async def _send_dead_letter(self, message: Message, fitted: Fitted) -> None:
        if fitted.lacking:
            lacking = list(fitted.lacking)
            emit(PushDeadLetterShortened(message_id=message.id, lacking=lacking))
        order: Any = {"MessageGroupId": message.group, "MessageDeduplicationId": message.id}
        await self._control.send_message(
            QueueUrl=str(self._dead_letter_url),
            MessageBody=message.body,
            MessageAttributes=fitted.attributes,
            **(order if message.group else {}),  # a standard queue has neither
        )

    async def _dead_letter_limit(self, message: Message) -> int:
        """Return MaximumMessageSize of the dead-letter queue; a guess if the role may not ask."""
        if self._dead_letter_bytes is None:
            url = str(self._dead_letter_url)
            try:
                with errors_of(f"read the attributes of dead-letter queue {url}"):
                    answer = await self._control.get_queue_attributes(
                        QueueUrl=url, AttributeNames=["MaximumMessageSize"]
                    )
            except NoPermission:
                short = size_of_body(message) <= OLD_MOST_BYTES
                return OLD_MOST_BYTES if short else MOST_BYTES
            told = {str(name): value for name, value in answer.get("Attributes", {}).items()}
            self._dead_letter_bytes = largest_message(told)
        return self._dead_letter_bytes
