"""Records about requests: what a tip is, where the answer is, and which group pushes come in.

An answer is written after all that a request asks for is settled: its sender reads one object until
it is there, and then the records that it names.
"""

from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Protocol

from asyncbuild.builds.ledger_heads import Heads, HeadStore
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.ledger_records import (
    FixedTip,
    dump_record,
    read_or_explain,
    read_record,
    read_reference,
    read_tip,
    tip_record,
)
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import TIP, Push
from asyncbuild.domain.repository import Repository
from asyncbuild.runtime.tasks import for_each

_LISTED_MOST: Final = 1_000  # heads, of one answer of S3
_HEADS_MOST: Final = 20  # looked at for a group: older versions recorded none
RECORDS_MOST: Final = 2_000  # looked at for a commit
_AT_ONCE: Final = 16


class RequestStore(HeadStore, Protocol):
    """Store of records; `storage.s3.Store` is one."""

    async def put_record(self, key: str, body: bytes) -> bool:
        """Write a record unless there is one; return whether it was written."""

    async def replace_record(self, key: str, body: bytes) -> None:
        """Write a record, replacing what was there."""

    async def get_record(self, key: str) -> bytes | None:
        """Return the body of a record, or None if there is none."""

    def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """Yield the records below `prefix` behind `after`, in order of keys, each with a `key`."""


class RequestRecords(Heads):
    """Reads and writes records about requests."""

    def __init__(self, records: RequestStore, keys: LedgerKeys) -> None:
        super().__init__(records, keys)
        self._requests = records

    async def fix_tip(self, push: Push, commit: str, *, seen_at: datetime) -> Push:
        """Record what the tip of a request is, unless that is on record; return the push of it.

        So all tries build one commit (I12). The push has the time at which the ref was seen there.

        Args:
            push: The request.
            commit: Id of the object that the ref points at.
            seen_at: When that was seen.

        Raises:
            Reject: The record cannot be read.
            StageError: The store refused.
        """
        key, fixed = self._keys.tip(push), FixedTip(commit, seen_at)
        if not await self._requests.put_record(key, tip_record(fixed)):
            body = await self._requests.get_record(key)
            fixed = fixed if body is None else read_tip(key, body)
        return replace(push, commit=fixed.commit, time=fixed.seen_at)

    async def find_group(self, repository: Repository) -> str:
        """Return the message group in which pushes of a repository come; empty if none is known.

        It is that of the head written last: a repository that was deleted and made again under its
        name has another group, and the heads of its former branches stay for a while.

        Raises:
            StageError: The store refused.
        """
        async for each in self._iter_heads(repository):
            if isinstance(each.get("group"), str) and each["group"]:
                return str(each["group"])
        return ""

    async def _iter_heads(self, repository: Repository) -> AsyncIterator[Mapping[str, Any]]:
        """Yield some heads of a repository that can be read, the one written last first."""
        listed: list[Any] = []
        async for each in self._requests.iter_records(self._keys.heads_of(repository)):
            listed.append(each)
            if len(listed) == _LISTED_MOST:
                break
        listed.sort(key=lambda each: each.last_modified, reverse=True)
        for each in listed[:_HEADS_MOST]:
            body = await self._requests.get_record(each.key)
            with suppress(Reject):
                if body is not None and "ref" in (head := read_record(each.key, body)):
                    yield head

    async def find_fixed(self, push: Push) -> Push:
        """Return a request with the commit that its tip was found to be; as it is without one.

        Raises:
            Reject: The record cannot be read.
            StageError: The store refused.
        """
        if push.commit != TIP:
            return push
        key = self._keys.tip(push)
        body = await self._requests.get_record(key)
        if body is None:
            return push
        fixed = read_tip(key, body)
        return replace(push, commit=fixed.commit, time=fixed.seen_at)

    async def answer(self, push: Push) -> None:
        """Record that a request is settled, after its records; nothing for a push of a forge.

        Raises:
            StageError: The store refused.
        """
        if push.terms is not None:
            await self._answer(push.repository, push.id, self._keys.records_of(push))

    async def _answer(self, repository: Repository, event_id: str, records: str) -> None:
        key = self._keys.answer(repository, event_id)
        await self._requests.replace_record(key, dump_record({"record": records}))

    async def find_answer(
        self, repository: Repository, event_id: str
    ) -> list[Mapping[str, Any]] | None:
        """Return the records of a request that is settled; None while it is not.

        A record that cannot be read has the verdict `unreadable` and the reason.

        Args:
            repository: Repository of the request.
            event_id: Its id.

        Raises:
            Reject: The answer cannot be read.
            StageError: The store refused.
        """
        key = self._keys.answer(repository, event_id)
        body = await self._requests.get_record(key)
        if body is None:
            return None
        return await self._read_below(
            read_reference(key, body, below=self._keys.pushes_of(repository))
        )

    async def find_records_of(self, push: Push) -> list[Mapping[str, Any]]:
        """Return the records of a push, by its id and time, as `find_answer` does."""
        return await self._read_below(self._keys.records_of(push))

    async def _read_below(self, prefix: str) -> list[Mapping[str, Any]]:
        keys = [each.key async for each in self._requests.iter_records(prefix)]
        bodies = [(key, await self._requests.get_record(key)) for key in keys]
        return [read_or_explain(key, body) for key, body in bodies if body is not None]

    async def find_refs(self, repository: Repository) -> list[str]:
        """Return some refs of a repository that were built, in order.

        Raises:
            StageError: The store refused.
        """
        return sorted([str(each["ref"]) async for each in self._iter_heads(repository)])

    async def find_newest_about(
        self,
        repository: Repository,
        is_about: Callable[[Mapping[str, Any]], bool],
        *,
        verdicts: Container[str],
        since: datetime,
    ) -> list[Mapping[str, Any]]:
        """Return the records of the newest push that has one with a certain verdict.

        Without such a push, the records of the newest one that has any. At most `RECORDS_MOST` are
        read, the newest first.

        Args:
            repository: The repository.
            is_about: Tells the records that are meant.
            verdicts: Verdicts that are looked for.
            since: Time of the oldest push.

        Raises:
            StageError: The store refused.
        """
        after = self._keys.since(repository, since)
        listed = self._requests.iter_records(self._keys.pushes_of(repository), after=after)
        keys = [each.key async for each in listed][-RECORDS_MOST:][::-1]
        newest = ""
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            for key, body in zip(
                some, await for_each(self._requests.get_record, some), strict=True
            ):
                record = {} if body is None else read_or_explain(key, body)
                if not is_about(record):
                    continue
                newest = newest or key
                if record.get("verdict") in verdicts:
                    return await self._read_below(key.rpartition("/")[0] + "/")
        return await self._read_below(newest.rpartition("/")[0] + "/") if newest else []
