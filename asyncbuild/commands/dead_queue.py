"""Dead-letter queue of any kind: its letters are received, sent back and deleted.

SQS can show a message only by delivering it: all are received, and those that stay are released.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from asyncbuild.aws.classify import errors_of
from asyncbuild.forges.webhooks.delivery import showable
from asyncbuild.queue.received_message import read_moment

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

# Long enough to go through a full queue, short enough that a killed command blocks it briefly.
_LOOK_SECONDS = 120
_MOVED_BY_QUEUE = "received too often: the queue's own redrive policy moved it"


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of a dead-letter queue, as commands show it.

    `attempts` is the number of tries, and empty if it is not known.
    """

    id: str
    body: str
    group: str
    receipt_handle: str
    sent: datetime
    reason: str
    kind: str
    attempts: str

    @property
    def about(self) -> str:
        """A few words about the body, for people."""
        raise NotImplementedError

    def told(self) -> dict[str, Any]:
        """Return what the body holds, as fields that `--json` shows."""
        raise NotImplementedError

    def document(self) -> dict[str, Any]:
        """Return the fields that `--json` shows."""
        return {
            "id": self.id,
            "group": self.group,
            "dead_since": self.sent,
            "kind": self.kind,
            "reason": self.reason,
            "attempts": self.attempts,
            **self.told(),
            "body": showable(self.body),
        }


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """Parts of a received message that each dead letter has, whatever its body."""

    id: str
    body: str
    group: str
    receipt_handle: str
    sent: datetime
    attributes: Mapping[str, str]

    @property
    def kind(self) -> str:
        """Kind of the error; `redrive` if the queue itself moved the message."""
        return self.attributes.get("ErrorKind", "redrive")

    @property
    def attempts(self) -> str:
        """Number of tries; empty if it is not known."""
        return self.attributes.get("Attempts", "")

    def reason(self, fault: str = "") -> str:
        """Return the reason that the message carries, else `fault`, else that the queue moved it.

        Args:
            fault: Why the body cannot be read; empty if it can.
        """
        return self.attributes.get("Reason", fault or _MOVED_BY_QUEUE)


def dead_message_of(item: Mapping[str, Any]) -> DeadMessage:
    """Return the common parts of a message as ReceiveMessage returns it."""
    told = {
        name: str(value.get("StringValue", ""))
        for name, value in (item.get("MessageAttributes") or {}).items()
    }
    attributes = item.get("Attributes", {})
    return DeadMessage(
        id=item["MessageId"],
        body=item["Body"],
        group=attributes.get("MessageGroupId", ""),
        receipt_handle=item["ReceiptHandle"],
        sent=read_moment(attributes.get("SentTimestamp", "0")) or datetime.fromtimestamp(0, UTC),
        attributes=told,
    )


L = TypeVar("L", bound=Letter)


class DeadQueue(Generic[L]):
    """A dead-letter queue, and the FIFO queue that it belongs to.

    Args:
        sqs: Client of SQS.
        url: URL of the queue.
        dead_url: URL of its dead-letter queue.
        read: Returns a received message as a letter, also an unreadable one.
    """

    def __init__(
        self, sqs: "SQSClient", url: str, dead_url: str, read: Callable[[Mapping[str, Any]], L]
    ) -> None:
        self._sqs = sqs
        self._url = url
        self._dead_url = dead_url
        self._read = read

    @asynccontextmanager
    async def open_all(self) -> AsyncIterator[list[L]]:
        """Receive every message, in order within its group; at the end release the others."""
        taken: list[L] = []
        try:
            while batch := await self._receive():
                taken += batch
            yield list(taken)
        finally:
            for letter in reversed(taken):  # tail first, so that each group opens in order
                await self._release(letter)

    async def return_letter(self, letter: L, attributes: Mapping[str, str]) -> str:
        """Put a letter back on its queue, in its group; return what was done, for people.

        Safe to repeat: the deduplication id is this letter's own.

        Args:
            letter: The letter.
            attributes: Message attributes that it takes along.

        Raises:
            StageError: SQS refused, or cannot be reached.
        """
        with errors_of(f"send {letter.id} back"):
            await self._sqs.send_message(
                QueueUrl=self._url,
                MessageBody=letter.body,
                MessageGroupId=letter.group,
                MessageDeduplicationId=f"back-{letter.id}",
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in attributes.items()
                },
            )
        await self.drop(letter)
        return f"{letter.id} sent back"

    async def drop(self, letter: L) -> str:
        """Delete a message for good; return what was done, for people."""
        with errors_of(f"delete {letter.id}"):
            await self._sqs.delete_message(
                QueueUrl=self._dead_url, ReceiptHandle=letter.receipt_handle
            )
        return f"{letter.id} dropped"

    async def _receive(self) -> list[L]:
        with errors_of(f"receive from {self._dead_url}"):
            answer = await self._sqs.receive_message(
                QueueUrl=self._dead_url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=0,
                VisibilityTimeout=_LOOK_SECONDS,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["MessageGroupId", "SentTimestamp"],
            )
        return [self._read(dict(item)) for item in answer.get("Messages", [])]

    async def _release(self, letter: L) -> None:
        with errors_of(f"release {letter.id}"):
            # Handles of deleted messages are refused in the answer, as expected.
            await self._sqs.change_message_visibility_batch(
                QueueUrl=self._dead_url,
                Entries=[
                    {"Id": "0", "ReceiptHandle": letter.receipt_handle, "VisibilityTimeout": 0}
                ],
            )
