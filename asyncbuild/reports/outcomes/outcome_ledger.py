"""Ledger of outcome events: the newest ends of each ref and project, and events that wait.

What an end means is written down before its events are sent. So a process that dies in between, or
another task that is told the same end, makes the same events with the same ids.
"""

from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.domain.model import StoredRecord
from asyncbuild.domain.outcomes.build_end import end_of
from asyncbuild.domain.outcomes.end_history import (
    EndHistory,
    EndMeaning,
    add_end,
    meaning_of_end,
)
from asyncbuild.domain.outcomes.outcome_event import OutcomeEvent
from asyncbuild.domain.results.build_result import BuildResult
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.reports.outcomes.outcome_records import (
    history_record,
    read_history,
    read_unsent,
    unsent_record,
)

_TRIES: Final = 10  # each but the first is caused by another writer


class OutcomeStore(Protocol):
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
        """Yield the records below `prefix`, in order of keys, each with a `key`."""


class OutcomeLedger:
    """Reads and writes the newest ends, and the events that wait, below one prefix."""

    def __init__(self, records: OutcomeStore, *, prefix: str) -> None:
        self._records = records
        self._keys = LedgerKeys(prefix)

    async def add_end(self, started: StartedBuild, result: BuildResult) -> EndMeaning:
        """Record the end of a build, and return its meaning; the same one each time.

        Args:
            started: The build.
            result: Its newest attempt, which has ended.

        Raises:
            Retry: Other tasks wrote in between each time.
            StageError: The store refused.
        """
        key = self._keys.outcome(started.repository, started.ref, started.of)
        end = end_of(started, result)
        for _ in range(_TRIES):
            stored = await self._records.read_stored(key)
            history = () if stored is None else _read_or_none(key, stored.body)
            grown = add_end(history, end)
            if grown is history:
                return meaning_of_end(history, end)
            body, etag = history_record(started, grown), stored.etag if stored else ""
            if await self._records.replace_stored(key, body, etag=etag) is not None:
                return meaning_of_end(grown, end)
        raise Retry(f"record {key}: other tasks wrote it {_TRIES} times meanwhile")

    async def keep(self, events: tuple[OutcomeEvent, ...]) -> None:
        """Keep events of one build until they can be sent. A repetition changes nothing.

        Raises:
            StageError: The store refused.
        """
        key = self._keys.unsent(events[0].id, when=events[0].time)
        await self._records.replace_record(key, unsent_record(events))

    async def list_unsent(self) -> list[str]:
        """Return the keys of all events that wait, of the oldest end first.

        Raises:
            StageError: The store refused.
        """
        return [each.key async for each in self._records.iter_records(self._keys.all_unsent)]

    async def find_unsent(self, key: str) -> tuple[OutcomeEvent, ...]:
        """Return the events below a key; none if another task has sent them meanwhile.

        Raises:
            Reject: The record cannot be read.
            StageError: The store refused.
        """
        body = await self._records.get_record(key)
        return () if body is None else read_unsent(key, body)

    async def drop_unsent(self, key: str) -> None:
        """Remove events that were sent, or given up.

        Raises:
            StageError: The store refused.
        """
        await self._records.delete_record(key)


def _read_or_none(key: str, body: bytes) -> EndHistory:
    """Return the ends of a record; none if it cannot be read: then it is replaced."""
    try:
        return read_history(key, body)
    except Reject:
        return ()
