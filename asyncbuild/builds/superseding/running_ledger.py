"""Entries of builds that a newer push may stop: one object each, until the build has ended.

An entry is written when its push has become the head of its ref, before the record of the push. It
also holds the intention to stop the build, which is written before the request. Each change names
the ETag that was read: an entry that was removed meanwhile does not come back.
"""

from dataclasses import dataclass

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.ledger_records import Head, read_head
from asyncbuild.builds.result_ledger import ResultStore
from asyncbuild.builds.superseding.running_records import (
    read_running,
    running_of,
    running_record,
)
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Push
from asyncbuild.domain.results.running_build import RunningBuild
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.runtime.tasks import for_each


@dataclass(frozen=True, slots=True)
class KnownRunning:
    """An entry as it was read: its key, and the ETag that it had."""

    build: RunningBuild
    key: str
    etag: str


class RunningLedger:
    """Reads and writes entries below one prefix.

    Args:
        records: Store of the ledger.
        prefix: Prefix of the ledger's keys.
    """

    def __init__(self, records: ResultStore, *, prefix: str) -> None:
        self._records = records
        self._keys = LedgerKeys(prefix)

    async def add(self, started: StartedBuild, push: Push, head: Head) -> None:
        """Write the entry of a build, unless there is one.

        Args:
            started: The build.
            push: Its push.
            head: Head of the ref, which is this push.

        Raises:
            StageError: The store refused.
        """
        body = running_record(running_of(started, push, head))
        await self._records.replace_stored(self._key(started), body, etag="")

    async def find(self, started: StartedBuild) -> KnownRunning | None:
        """Return the entry of a build; None if there is none, or if it cannot be read.

        Raises:
            StageError: The store refused.
        """
        return await self._read(self._key(started))

    async def find_group(self, group: str) -> list[KnownRunning]:
        """Return the entries below a prefix that `group_of` returned.

        Raises:
            StageError: The store refused.
        """
        listed = [each.key async for each in self._records.iter_records(group)]
        found = await for_each(self._read, listed)
        return [each for each in found if each is not None]

    async def find_all(self) -> dict[str, list[RunningBuild]]:
        """Return all builds that a newer push may stop, by the prefix of their group.

        Raises:
            StageError: The store refused.
        """
        groups: dict[str, list[RunningBuild]] = {}
        for each in await self.find_group(self._keys.all_running):
            groups.setdefault(each.key[: each.key.rindex("/") + 1], []).append(each.build)
        return groups

    def group_of(self, started: StartedBuild) -> str:
        """Return the prefix of the entries of the same ref, project and rule."""
        of, rule = started.of, started.rule
        return self._keys.running_group(started.repository, started.ref, of, rule=rule)

    async def find_head(self, build: RunningBuild) -> Head | None:
        """Return the head of a build's ref; None if there is none, or if it cannot be read.

        Raises:
            StageError: The store refused.
        """
        key = self._keys.head_of(build.repository, build.ref)
        body = await self._records.get_record(key)
        if body is None:
            return None
        try:
            return read_head(key, body)
        except Reject:
            return None

    async def change(self, known: KnownRunning, build: RunningBuild) -> KnownRunning | None:
        """Write a changed entry; None if it was changed or removed meanwhile.

        Args:
            known: The entry as it was read.
            build: The entry as it is to be.

        Raises:
            StageError: The store refused.
        """
        body = running_record(build)
        etag = await self._records.replace_stored(known.key, body, etag=known.etag)
        return None if etag is None else KnownRunning(build, known.key, etag)

    async def remove(self, started: StartedBuild) -> None:
        """Remove the entry of a build, after its end was recorded.

        Raises:
            StageError: The store refused.
        """
        await self._records.delete_record(self._key(started))

    async def remove_ended(self, known: KnownRunning) -> bool:
        """Remove the entry of a build that has ended, if its end is recorded; return whether.

        A version that knows no entries may have recorded the end.

        Raises:
            StageError: The store refused.
        """
        mark = self._keys.unfinished(known.build.of)
        if await self._records.get_record(mark) is not None:
            return False
        await self._records.delete_record(known.key)
        return True

    def _key(self, started: StartedBuild) -> str:
        of, rule = started.of, started.rule
        return self._keys.running(started.repository, started.ref, of, rule=rule)

    async def _read(self, key: str) -> KnownRunning | None:
        stored = await self._records.read_stored(key)
        if stored is None:
            return None
        try:
            build = read_running(key, stored.body, keys=self._keys)
        except Reject:
            return None
        return KnownRunning(build, key, stored.etag)
