"""Removal of a person's name from records, without overwriting what a running service writes."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import anyio

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.ledger_records import dump_record, read_record
from asyncbuild.builds.persons.person_fields import without_person
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import StoredRecord
from asyncbuild.runtime.tasks import open_tasks

_TRIES: Final = 5  # each but the first is caused by another writer
_AT_ONCE: Final = 16
_BUFFERED: Final = 1_000


class RewritableStore(Protocol):
    """Store of records; `storage.s3.Store` is one."""

    async def read_stored(self, key: str) -> StoredRecord | None:
        """Return a record with its ETag, or None if there is none."""

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write a record if it still has this ETag; return the new one, or None if not written."""

    def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """Yield the records below `prefix`, in order of keys, each with a `key`."""


class OldVersions(Protocol):
    """Older versions of records; `storage.old_versions.StoredVersions` has them."""

    def iter_old(self, prefix: str) -> AsyncIterator[tuple[str, str]]:
        """Yield the key and the id of each version that is not the latest."""

    async def read_old(self, key: str, version: str) -> bytes | None:
        """Return the body of a version; None if it is gone."""

    async def delete_old(self, key: str, version: str) -> None:
        """Delete a version for good."""


@dataclass(slots=True)
class NameCount:
    """Counts of one pass over the ledger.

    Attributes:
        looked: Records that were read.
        records: Records whose fields have the name.
        fields: How often each field has it.
        rewritten: Records that lost it.
        busy: Keys of records that others wrote each time.
        unreadable: Keys of records that are no JSON.
        mentioned: Keys of records that have it in another text, such as a ref or a reason.
        versions: Older versions that have it.
        deleted: Older versions that were deleted.
    """

    looked: int = 0
    records: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    rewritten: int = 0
    busy: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    mentioned: list[str] = field(default_factory=list)
    versions: int = 0
    deleted: int = 0


class NameRemoval:
    """Looks for a person's name in records, and removes it.

    A repetition goes on where an earlier one ended: records without the name are left alone.

    Args:
        records: The records.
        prefix: Prefix of the ledger.
        name: The name.
        change: Rewrite records, and delete versions; only count otherwise.
    """

    def __init__(self, records: RewritableStore, *, prefix: str, name: str, change: bool) -> None:
        self._records = records
        self._keys = LedgerKeys(prefix)
        self._name = name
        self._change = change
        self.count = NameCount()

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Prefixes of the keys of records that may have the name of a person."""
        return self._keys.pushes, self._keys.all_results

    async def run(self) -> None:
        """Go over all records.

        Raises:
            StageError: The store refused; what was rewritten stays so.
        """
        for prefix in self.prefixes:
            await self._for_each(self._records.iter_records(prefix), self._look_at_listed)

    async def run_versions(self, versions: OldVersions) -> None:
        """Go over all older versions of those records.

        Args:
            versions: Reads and deletes them.

        Raises:
            StageError: The store refused; what was deleted stays so.
        """

        async def look(old: tuple[str, str]) -> None:
            body = await versions.read_old(*old)
            if body is None or not self._is_named(old[0], body):
                return
            self.count.versions += 1
            if self._change:
                await versions.delete_old(*old)
                self.count.deleted += 1

        for prefix in self.prefixes:
            await self._for_each(versions.iter_old(prefix), look)

    async def _for_each(self, listed: AsyncIterator[Any], look: Any) -> None:  # noqa: ANN401 - takes an item of `listed`
        """Call with each item, some at a time, while the listing goes on."""
        sender, receiver = anyio.create_memory_object_stream[Any](_BUFFERED)

        async def work() -> None:
            async for each in receiver:
                await look(each)

        async with open_tasks() as tasks:
            for _ in range(_AT_ONCE):
                tasks.start_soon(work)
            async with sender:
                async for each in listed:
                    await sender.send(each)
        receiver.close()

    async def _look_at_listed(self, listed: Any) -> None:  # noqa: ANN401 - has a `key`
        await self._look_at(listed.key)

    async def _look_at(self, key: str) -> None:
        self.count.looked += 1
        for number in range(_TRIES):
            stored = await self._records.read_stored(key)
            if stored is None:
                return
            try:
                record, found = without_person(read_record(key, stored.body), self._name)
            except Reject:
                self.count.unreadable.append(key)
                return
            body = dump_record(record)
            if number == 0:
                self._add(key, body, found)
            if not found:
                return
            if not self._change:
                return
            if await self._records.replace_stored(key, body, etag=stored.etag) is not None:
                self.count.rewritten += 1
                return
        self.count.busy.append(key)

    def _add(self, key: str, rest: bytes, found: Counter[str]) -> None:
        self.count.fields += found
        self.count.records += bool(found)
        if self._name.casefold() in rest.decode("utf-8", "replace").casefold():
            self.count.mentioned.append(key)

    def _is_named(self, key: str, body: bytes) -> bool:
        try:
            _, found = without_person(read_record(key, body), self._name)
        except Reject:
            return False
        return bool(found)
