"""Records of what was decided and started for each push: objects in the bucket, one a target.

A record is looked for before a start and written after it, once (`If-None-Match: *`): when a
message is delivered again, it shows what was done already (I12). It also answers "why did this push
(not) build?", so every push has one, also those that were ignored, stale, superseded or rejected.
`ledger_keys.py` has the keys, `ledger_records.py` the bodies.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from asyncbuild.builds.ledger_keys import LedgerKeys, slot_of
from asyncbuild.builds.ledger_records import (
    dump_record,
    nothing_record,
    outcome_record,
    read_or_explain,
    read_record,
    read_reference,
    rejected_record,
)
from asyncbuild.builds.ledger_requests import RequestRecords, RequestStore
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.model import Message, Nothing, Outcome, Push, Target
from asyncbuild.domain.repository import Repository, decode_repository
from asyncbuild.runtime.tasks import both, for_each

_AT_ONCE = 64  # records that are read ahead
_TRY = re.compile(r"[0-9]{1,9}", re.ASCII)


class RecordStore(RequestStore, Protocol):
    """Store of records; `storage.s3.Store` is one."""

    async def delete_record(self, key: str) -> None:
        """Delete a record, if it is there."""

    async def list_folders(self, prefix: str) -> list[str]:
        """Return the names that follow `prefix` up to the next slash."""


class Ledger(RequestRecords):
    """Reads and writes records below one prefix."""

    def __init__(self, records: RecordStore, *, prefix: str) -> None:
        super().__init__(records, LedgerKeys(prefix))
        self._records = records

    async def find_undone(self, push: Push, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Return the targets of a push that have no record yet (I12)."""
        found = await for_each(lambda target: self.find(push, target), targets)
        pairs = zip(targets, found, strict=True)
        return tuple(target for target, record in pairs if record is None)

    async def find(self, push: Push, target: Target) -> Mapping[str, Any] | None:
        """Return the record of what was done for this push and target, if anything was."""
        slot = slot_of(target)
        key = self._keys.record(push, slot)
        if push.timed:
            return _read_if_any(key, await self._records.get_record(key))
        once = self._keys.once(push, slot)
        body, marked = await both(
            lambda: self._records.get_record(key), lambda: self._records.get_record(once)
        )
        if body is None:
            return await self._find_delivered(push, slot, marked)
        if marked is None:
            await self._mark_once(push, slot, key)  # the process may have died before it did this
        return _read_if_any(key, body)

    async def record(
        self, push: Push, outcome: Outcome, *, attempts: int = 1, **more: object
    ) -> bool:
        """Record what was done; return False, and change nothing, if that was recorded before.

        Args:
            push: The push.
            outcome: What was done for one target.
            attempts: Number of counted attempts.
            more: Further fields of the record.
        """
        slot = slot_of(outcome.target)
        key = self._keys.record(push, slot)
        body = outcome_record(
            push, outcome, recorded_at=datetime.now(UTC), more={"attempts": attempts, **more}
        )
        written = await self._records.put_record(key, body)
        if not push.timed:
            await self._mark_once(push, slot, key)
        return written

    async def record_nothing(self, message: Message, event: Nothing) -> None:
        """Record an event that asked for no build."""
        now = datetime.now(UTC)
        key = self._keys.nothing(event, message_id=message.id, when=message.sent or now)
        await self._records.put_record(key, nothing_record(event, recorded_at=now))
        if event.requested and event.repository is not None:
            await self._answer(event.repository, event.id, key)

    async def record_rejected(
        self, message: Message, push: Push | None, error: StageError, *, attempts: int
    ) -> None:
        """Record why a message went to the dead-letter queue. Later tries replace the record.

        Args:
            message: The message.
            push: Its push that is to blame; None if it has none.
            error: Why it was given up.
            attempts: Number of counted attempts.
        """
        now = datetime.now(UTC)
        if push is None:
            key = self._keys.rejected(message.id, when=message.sent or now)
        else:
            key = self._keys.record(push, "rejected")
        body = rejected_record(message, push, error, attempts=attempts, recorded_at=now)
        await self._records.replace_record(key, body)
        if push is not None:
            await self.answer(push)

    async def is_rejected(self, push: Push) -> bool:
        """Return whether the push, or a target of it, was given up."""
        return await self._records.get_record(self._keys.record(push, "rejected")) is not None

    async def force(self, push: Push) -> None:
        """Let a push be built although a newer one of its ref was."""
        said = dump_record({"repository": push.repository.path})
        await self._records.replace_record(self._keys.force(push), said)
        await self._records.replace_record(self._keys.old_force(push), said)

    async def is_forced(self, push: Push) -> bool:
        """Return whether the push is to be built however old it is: its dead letter was forced."""
        key = self._keys.old_force(push)
        marked, body = await for_each(self._records.get_record, (self._keys.force(push), key))
        if marked is not None:
            return True
        if body is None:
            return False
        # Earlier versions wrote no repository; an event id may occur in several repositories.
        path = push.repository.path
        return bool(read_record(key, body).get("repository", path) == path)

    async def find_repeated(self, push: Push) -> str:
        """Return the event under which a push with an equal signed body was settled; empty if none.

        A forge gives each delivery an id, which its signature does not cover: a client that has
        seen a delivery can send it again under another id.
        """
        if not push.body_id:
            return ""
        key = self._keys.body(push)
        body = await self._records.get_record(key)
        told = "" if body is None else str(read_record(key, body).get("event_id"))
        return "" if told == push.id else told

    async def remember_body(self, push: Push) -> None:
        """Record the body of a settled push; not of a rejected one, which may come again."""
        if push.body_id:
            told = dump_record({"event_id": push.id, "commit": push.commit, "ref": push.ref})
            await self._records.put_record(self._keys.body(push), told)

    async def take_place(self, host: str, hour: str, number: int, message: Message) -> bool:
        """Take one of the places for requests without a good signature; False if it is taken.

        Args:
            host: Name of the webhook's host.
            hour: The hour, as `%Y%m%dT%H`.
            number: Number of the place.
            message: The message that takes it.
        """
        key = self._keys.unverified(host, hour, number)
        return await self._records.put_record(key, dump_record({"message_id": message.id}))

    async def mark_try(self, message: Message, number: int) -> None:
        """Record a try, before it is made, because it may kill its process."""
        await self._records.replace_record(f"{self._keys.tries(message.id)}{number}", b"{}")

    async def find_tries(self, message: Message) -> set[int]:
        """Return the tries that were marked and never unmarked: their processes died."""
        prefix = self._keys.tries(message.id)
        keys = [record.key async for record in self._records.iter_records(prefix)]
        numbers = (key.removeprefix(prefix) for key in keys)
        return {int(each) for each in numbers if _TRY.fullmatch(each)}

    async def unmark_try(self, message: Message, number: int) -> None:
        """Remove the mark of a try that has ended, well or not, while its process lives."""
        await self._records.delete_record(f"{self._keys.tries(message.id)}{number}")

    async def find_repositories(self, name: str) -> list[Repository]:
        """Return the repositories of that name, or ACCOUNT/REGION/NAME, that have records.

        An empty name means all.
        """
        prefix = self._keys.pushes
        if name.count("/") == 2:  # noqa: PLR2004 - account, region, name
            account, region, name = name.split("/")
            places = [(account, region)]
        else:
            places = [
                (account, region)
                for account in await self._records.list_folders(prefix)
                for region in await self._records.list_folders(f"{prefix}{account}/")
            ]
        return [
            decode_repository(account, region, each)
            for account, region in places
            for each in await self._records.list_folders(f"{prefix}{account}/{region}/")
            if name in {"", each}
        ]

    async def iter_pushes(
        self, repository: Repository, *, since: datetime
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield every record of a repository's pushes from `since` on, oldest push first.

        A record that cannot be read has the verdict `unreadable` and the reason.
        """
        prefix, after = self._keys.pushes_of(repository), self._keys.since(repository, since)
        keys = [each.key async for each in self._records.iter_records(prefix, after=after)]
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            bodies = await for_each(self._records.get_record, some)
            for key, body in zip(some, bodies, strict=True):
                if body is not None:
                    yield read_or_explain(key, body)

    async def _mark_once(self, push: Push, slot: str, key: str) -> None:
        """Record the key of a record whose event has no time."""
        await self._records.put_record(self._keys.once(push, slot), dump_record({"record": key}))

    async def _find_delivered(
        self, push: Push, slot: str, marked: bytes | None
    ) -> Mapping[str, Any] | None:
        """Return the record of an event that was delivered before, at another time."""
        once, pushes = self._keys.once(push, slot), self._keys.pushes_of(push.repository)
        if marked is not None:
            key = read_reference(once, marked, below=pushes)
            body = await self._records.get_record(key)
            return read_record(once, marked) if body is None else read_record(key, body)
        after = self._keys.listed_before(push)
        async for each in self._records.iter_records(pushes, after=after):
            if self._keys.is_record(each.key, push, slot):
                return _read_if_any(each.key, await self._records.get_record(each.key))
        return None


def _read_if_any(key: str, body: bytes | None) -> Mapping[str, Any] | None:
    return None if body is None else read_record(key, body)
