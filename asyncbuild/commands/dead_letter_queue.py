"""Dead-letter queue of `asyncbuild dead-letters`: letters are read, sent back and deleted.

SQS can show a message only by delivering it: all are received, and those that stay are released.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_records import Head
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError, Reject, reading
from asyncbuild.domain.model import Message, Push
from asyncbuild.forges.registry import unchecked_reader
from asyncbuild.forges.webhooks.delivery import KEPT, kept_attributes, showable
from asyncbuild.forges.webhooks.senders import MessageReader
from asyncbuild.queue.received_message import read_moment
from asyncbuild.queue.sqs import Queue
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

# Long enough to go through a full queue, short enough that a killed command blocks it briefly.
_LOOK_SECONDS = 120


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message of the dead-letter queue; `pushes` is empty if its body holds no push."""

    id: str
    body: str
    group: str
    receipt_handle: str
    sent: datetime
    reason: str
    kind: str
    attempts: str
    pushes: tuple[Push, ...]
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def push(self) -> Push | None:
        """First push of the message; None if its body holds no push."""
        return self.pushes[0] if self.pushes else None

    def document(self) -> dict[str, Any]:
        """Return the fields that `--json` shows."""
        push = self.push
        return {
            "id": self.id,
            "group": self.group,
            "dead_since": self.sent,
            "kind": self.kind,
            "reason": self.reason,
            "attempts": self.attempts,
            "repository": push.repository.path if push else None,
            "ref": push.ref if push else None,
            "commit": push.commit if push else None,
            "event_id": push.id if push else None,
            "body": showable(self.body),
        }


class DeadLetters:
    """Dead-letter queue, the queue it belongs to, and the ledger.

    Args:
        sqs: Client of SQS.
        url: URL of the queue.
        dead_url: URL of its dead-letter queue.
        ledger: Records of pushes.
        hosts: Readers of events and webhooks.
    """

    def __init__(
        self, sqs: "SQSClient", url: str, dead_url: str, ledger: Ledger, hosts: MessageReader
    ) -> None:
        self._hosts = hosts
        self._sqs = sqs
        self._url = url
        self._dead_url = dead_url
        self._ledger = ledger

    @asynccontextmanager
    async def open_all(self) -> AsyncIterator[list[DeadLetter]]:
        """Receive every message, in order within its group; at the end release the others."""
        taken: list[DeadLetter] = []
        try:
            while batch := await self._receive():
                taken += batch
            yield list(taken)
        finally:
            for letter in reversed(taken):  # tail first, so that each group opens in order
                await self._release(letter)

    async def send_back(self, letter: DeadLetter, *, force: bool) -> str:
        """Put a message back on its queue, in its group; return what was done, for people.

        Safe to repeat: the deduplication id is this letter's own, and the service finds a push that
        was built meanwhile in the ledger.

        Raises:
            Reject: A newer push of its ref was built meanwhile, and `force` is off.
            StageError: SQS or the ledger refused, or cannot be reached.
        """
        failed = [push for push in letter.pushes if await self._ledger.is_rejected(push)]
        for push in failed or letter.pushes:  # the message's other pushes were built
            head = await self._ledger.head(push)
            if _is_overtaken(push, head) and not force:
                raise Reject(
                    f"{letter.id}: a newer push of {push.ref} was built meanwhile: commit "
                    f"{head.commit if head else ''}",
                    remedy="drop it, or send it back with --force",
                )
            if force:
                await self._ledger.force(push)
        with errors_of(f"send {letter.id} back"):
            await self._sqs.send_message(
                QueueUrl=self._url,
                MessageBody=letter.body,
                MessageGroupId=letter.group,
                MessageDeduplicationId=f"back-{letter.id}",
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in kept_attributes(letter.attributes, len(KEPT)).items()
                },
            )
        await self.drop(letter)
        return f"{letter.id} sent back"

    async def drop(self, letter: DeadLetter) -> str:
        """Delete a message for good; return what was done, for people."""
        with errors_of(f"delete {letter.id}"):
            await self._sqs.delete_message(
                QueueUrl=self._dead_url, ReceiptHandle=letter.receipt_handle
            )
        return f"{letter.id} dropped"

    async def _receive(self) -> list[DeadLetter]:
        with errors_of(f"receive from {self._dead_url}"):
            answer = await self._sqs.receive_message(
                QueueUrl=self._dead_url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=0,
                VisibilityTimeout=_LOOK_SECONDS,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["MessageGroupId", "SentTimestamp"],
            )
        return [letter_of(dict(item), self._hosts) for item in answer.get("Messages", [])]

    async def _release(self, letter: DeadLetter) -> None:
        with errors_of(f"give {letter.id} back"):
            # Handles of deleted messages are refused in the answer, as expected.
            await self._sqs.change_message_visibility_batch(
                QueueUrl=self._dead_url,
                Entries=[
                    {"Id": "0", "ReceiptHandle": letter.receipt_handle, "VisibilityTimeout": 0}
                ],
            )


@asynccontextmanager
async def open_dead_letters(settings: Settings) -> AsyncIterator[DeadLetters]:
    """Open the dead-letter queue of the configured queue.

    Raises:
        ConfigError: Queue or bucket are not set, or the queue has no dead-letter queue.
    """
    if not settings.queue.url or not settings.storage.bucket:
        raise ConfigError("queue.url or storage.bucket is empty", remedy="set both")
    aws = Aws(settings)
    async with aws.open_sqs(pool=4) as sqs, aws.open_s3(pool=4) as s3:
        queue = Queue(
            polls=sqs,
            control=sqs,
            url=settings.queue.url,
            dead_letter_url=settings.queue.dead_letter_url,
        )
        dead_url = await queue.find_dead_letter_queue(await queue.facts())
        ledger = Ledger(Store(s3, settings.storage), prefix=settings.storage.ledger_prefix)
        yield DeadLetters(sqs, settings.queue.url, dead_url, ledger, unchecked_reader(settings))


def letter_of(item: Mapping[str, Any], hosts: MessageReader) -> DeadLetter:
    """Return a received message of the dead-letter queue as a letter, also an unreadable one."""
    told = {
        name: str(value.get("StringValue", ""))
        for name, value in (item.get("MessageAttributes") or {}).items()
    }
    attributes = item.get("Attributes", {})
    sent = read_moment(attributes.get("SentTimestamp", "0")) or datetime.fromtimestamp(0, UTC)
    group = attributes.get("MessageGroupId", "")
    message = Message(item["MessageId"], item["Body"], "", group, 0, sent=sent, attributes=told)
    fault = "received too often: the queue's own redrive policy moved it"
    pushes: tuple[Push, ...] = ()
    try:
        with reading("message"):
            pushes = tuple(each for each in hosts.read(message) if isinstance(each, Push))
    except Reject as error:
        fault = error.reason
    return DeadLetter(
        id=item["MessageId"],
        body=item["Body"],
        group=group,
        receipt_handle=item["ReceiptHandle"],
        sent=sent,
        reason=told.get("Reason", fault),
        kind=told.get("ErrorKind", "redrive"),
        attempts=told.get("Attempts", ""),
        pushes=pushes,
        attributes=told,
    )


def _is_overtaken(push: Push, head: Head | None) -> bool:
    return (
        head is not None
        and head.event_id != push.id
        and head.time > push.time
        and head.commit != push.old_commit
    )
