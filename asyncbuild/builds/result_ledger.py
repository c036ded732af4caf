"""Index of starts, and the results of the builds in it, in the bucket beside the ledger.

A start writes an entry of the index and a mark that the build is unfinished, before the record of
its push: a process that dies in between leaves a push without a record, whose message is delivered
again, finds the same build, and writes both again.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.result_records import (
    read_result,
    read_started,
    result_record,
    started_by,
    started_record,
)
from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.domain.model import Outcome, Push, StoredRecord
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import BuildResult, StartedId, newest
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.runtime.tasks import both, for_each

_TRIES: Final = 5  # each but the first is caused by another writer


class ResultStore(Protocol):
    """Store of records; `storage.s3.Store` is one."""

    async def replace_record(self, key: str, body: bytes) -> None:
        """Write a record, replacing what was there."""

    async def get_record(self, key: str) -> bytes | None:
        """Return the body of a record, or None if there is none."""

    async def read_stored(self, key: str) -> StoredRecord | None:
        """Return a record with its ETag, or None if there is none."""

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write a record if it still has this ETag; return the new one, or None if not written."""

    async def delete_record(self, key: str) -> None:
        """Delete a record, if it is there."""

    def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """Yield the records below `prefix`, in order of keys, with `key` and `last_modified`."""


@dataclass(frozen=True, slots=True)
class UnfinishedMark:
    """Mark of an unfinished build, and when it was started, by the clock of the store."""

    of: StartedId
    since: datetime


@dataclass(frozen=True, slots=True)
class RecordedResult:
    """The result of a build as it is on record, with the key of its push's record."""

    record: str
    result: BuildResult


class ResultLedger:
    """Reads and writes the index of starts, the marks and the results, below one prefix."""

    def __init__(self, records: ResultStore, *, prefix: str) -> None:
        self._records = records
        self._keys = LedgerKeys(prefix)

    async def record_start(self, push: Push, outcome: Outcome) -> StartedBuild | None:
        """Write the index entry and the mark of what a push has started; return the entry.

        A repetition is harmless: it writes the same entry, and the next round removes the mark of a
        build whose end is recorded.

        Args:
            push: The push.
            outcome: What was done for one target; if nothing was started, nothing is written, and
                None is returned.

        Raises:
            StageError: The store refused.
        """
        started = started_by(push, outcome, keys=self._keys, started_at=datetime.now(UTC))
        if started is None:
            return None
        write, body = self._records.replace_record, started_record(started)
        await both(
            lambda: write(self._keys.started(started.of), body),
            lambda: write(self._keys.unfinished(started.of), b""),
        )
        return started

    async def find_started(self, of: StartedId) -> StartedBuild | None:
        """Return the entry of the index for a build; None if this service did not start it.

        Raises:
            Reject: The entry cannot be read.
            StageError: The store refused.
        """
        key = self._keys.started(of)
        body = await self._records.get_record(key)
        return None if body is None else read_started(key, body, keys=self._keys)

    async def record_result(self, started: StartedBuild, seen: BuildResult) -> bool:
        """Record a state of a build unless a newer one is on record; return whether it was written.

        Most results are the first of their build, so the record is written before it is read: a
        refused write is another consumer's, or this one's own whose answer was lost.

        Args:
            started: The build.
            seen: Its state.

        Raises:
            Retry: Other consumers wrote in between each time.
            StageError: The store refused.
        """
        key = self._keys.result(started.record)
        body, etag = result_record(started, seen), ""
        for _ in range(_TRIES):
            if await self._records.replace_stored(key, body, etag=etag) is not None:
                return True
            stored = await self._records.read_stored(key)
            if stored is not None and newest(_read_or_none(key, stored.body), seen) is not seen:
                return False
            etag = "" if stored is None else stored.etag
        raise Retry(f"record {key}: other consumers wrote it {_TRIES} times meanwhile")

    async def find_result(self, started: StartedBuild) -> BuildResult | None:
        """Return the result of a build that is on record; None if there is none.

        Raises:
            Reject: The record cannot be read.
            StageError: The store refused.
        """
        key = self._keys.result(started.record)
        body = await self._records.get_record(key)
        return None if body is None else read_result(key, body)

    async def find_result_of(self, of: StartedId) -> BuildResult | None:
        """Return the recorded result of a build of the index; None if there is none.

        A push that was built twice has one result, that of the build that was started later.

        Raises:
            Reject: A record cannot be read.
            StageError: The store refused.
        """
        started = await self.find_started(of)
        found = None if started is None else await self.find_result(started)
        return found if found is not None and found.of == of else None

    async def finish(self, of: StartedId) -> None:
        """Remove the mark that a build is unfinished, after its end was recorded.

        Raises:
            StageError: The store refused.
        """
        await self._records.delete_record(self._keys.unfinished(of))

    async def find_unfinished(self) -> list[UnfinishedMark]:
        """Return the marks of all unfinished builds.

        Raises:
            StageError: The store refused.
        """
        marks = []
        async for each in self._records.iter_records(self._keys.all_unfinished):
            of = self._keys.read_unfinished(each.key)
            if of is not None:
                marks.append(UnfinishedMark(of, each.last_modified))
        return marks

    async def find_results(
        self, repository: Repository, *, since: datetime
    ) -> list[RecordedResult]:
        """Return the results of a repository's builds whose pushes are from `since` on.

        In the order of the pushes, each with the key of its push's record. Results that cannot be
        read are left out.

        Args:
            repository: The repository.
            since: Time of the earliest push.

        Raises:
            StageError: The store refused.
        """
        prefix = self._keys.results_of(repository)
        after = self._keys.result(self._keys.since(repository, since))
        listed = self._records.iter_records(prefix, after=after)
        found = await for_each(self._read_listed, [each.key async for each in listed])
        return [each for each in found if each is not None]

    async def _read_listed(self, key: str) -> RecordedResult | None:
        body = await self._records.get_record(key)
        result = None if body is None else _read_or_none(key, body)
        return None if result is None else RecordedResult(self._keys.record_of_result(key), result)


def _read_or_none(key: str, body: bytes) -> BuildResult | None:
    """Return the result in a record; None if it cannot be read: then it is replaced."""
    try:
        return read_result(key, body)
    except Reject:
        return None
