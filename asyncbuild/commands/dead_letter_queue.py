"""Dead-letter queue of `asyncbuild dead-letters`: what its letters are, and which may go back."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from asyncbuild.aws.session import Aws
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_records import Head
from asyncbuild.commands.dead_queue import DeadQueue, Letter, dead_message_of
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError, Reject, reading
from asyncbuild.domain.model import Message, Push
from asyncbuild.forges.registry import unchecked_reader
from asyncbuild.forges.webhooks.delivery import KEPT, kept_attributes
from asyncbuild.forges.webhooks.senders import MessageReader
from asyncbuild.queue.sqs import Queue
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient


@dataclass(frozen=True, slots=True)
class DeadLetter(Letter):
    """One message of the dead-letter queue; `pushes` is empty if its body holds no push."""

    pushes: tuple[Push, ...]
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def push(self) -> Push | None:
        """First push of the message; None if its body holds no push."""
        return self.pushes[0] if self.pushes else None

    @property
    def about(self) -> str:
        """Repository, branch and commit, for people."""
        push = self.push
        return f"{push.repository.name} {push.branch} {push.commit[:10]}" if push else "no push"

    def told(self) -> dict[str, Any]:
        """Return what the body holds, as fields that `--json` shows."""
        push = self.push
        return {
            "repository": push.repository.path if push else None,
            "ref": push.ref if push else None,
            "commit": push.commit if push else None,
            "event_id": push.id if push else None,
        }


class DeadLetters(DeadQueue[DeadLetter]):
    """Dead-letter queue of pushes, the queue it belongs to, and the ledger.

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
        super().__init__(sqs, url, dead_url, partial(letter_of, hosts=hosts))
        self._ledger = ledger

    async def send_back(self, letter: DeadLetter, *, force: bool) -> str:
        """Put a message back on its queue, in its group; return what was done, for people.

        Safe to repeat: the service finds a push that was built meanwhile in the ledger.

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
        return await self.return_letter(letter, kept_attributes(letter.attributes, len(KEPT)))


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
    dead = dead_message_of(item)
    message = Message(
        dead.id, dead.body, "", dead.group, 0, sent=dead.sent, attributes=dead.attributes
    )
    fault = ""
    pushes: tuple[Push, ...] = ()
    try:
        with reading("message"):
            pushes = tuple(each for each in hosts.read(message) if isinstance(each, Push))
    except Reject as error:
        fault = error.reason
    return DeadLetter(
        id=dead.id,
        body=dead.body,
        group=dead.group,
        receipt_handle=dead.receipt_handle,
        sent=dead.sent,
        reason=dead.reason(fault),
        kind=dead.kind,
        attempts=dead.attempts,
        pushes=pushes,
        attributes=dead.attributes,
    )


def _is_overtaken(push: Push, head: Head | None) -> bool:
    return (
        head is not None
        and head.event_id != push.id
        and head.time > push.time
        and head.commit != push.old_commit
    )
