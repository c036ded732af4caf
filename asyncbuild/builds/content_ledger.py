"""Histories of contents: for each ref, target and rule one object, with its newest start and pass.

A record that is missing, or cannot be read, is one without a start and a pass: what is compared
with it is built.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from asyncbuild.builds.content_records import history_record, read_history
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.result_records import started_id
from asyncbuild.domain.contents.content_history import NO_HISTORY, ContentHistory, SeenContent
from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.domain.model import Outcome, Push, StoredRecord
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import BuildResult, StartedId
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.recent import Recent
from asyncbuild.runtime.tasks import for_each

_TRIES: Final = 10  # each but the first is caused by another writer
_KNOWN_MOST: Final = 1_000


class HistoryStore(Protocol):
    """Store of histories; `storage.s3.Store` is one."""

    async def read_stored(self, key: str) -> StoredRecord | None:
        """Return a record with its ETag, or None if there is none."""

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write a record if it still has this ETag; return the new one, or None if not written."""


@dataclass(frozen=True, slots=True)
class _KnownHistory:
    """History as it was read, and the ETag of its record; empty without one."""

    history: ContentHistory = NO_HISTORY
    etag: str = ""


@dataclass(frozen=True, slots=True)
class _HistoryPlace:
    """Record of a history, and what it says of itself for people."""

    key: str
    repository: Repository
    ref: str
    of: StartedId


class ContentLedger:
    """Reads and writes histories, below one prefix.

    Args:
        records: Store of the records.
        prefix: Prefix of all keys of the ledger.
        clock: Clock.
    """

    def __init__(self, records: HistoryStore, *, prefix: str, clock: Clock = utc_now) -> None:
        self._records = records
        self._keys = LedgerKeys(prefix)
        self._clock = clock
        # As they were read for a decision: the write after it needs no read of its own.
        self._known: Recent[str, _KnownHistory] = Recent(_KNOWN_MOST)

    async def find(
        self, repository: Repository, names: Collection[str]
    ) -> dict[str, ContentHistory]:
        """Return the histories of a repository that have these names.

        Raises:
            StageError: The store refused.
        """
        now = self._clock()

        async def find(name: str) -> ContentHistory:
            key = self._keys.passed(repository, name)
            self._known[key] = known = await self._read(key)
            return known.history.without_lost(now)

        return dict(zip(names, await for_each(find, tuple(names)), strict=True))

    async def record_start(self, push: Push, outcome: Outcome) -> None:
        """Record what a push has started, if later pushes are compared with it.

        To be called before the start is in the index of starts, so that no end is recorded before.

        Args:
            push: The push.
            outcome: What was done for one target.

        Raises:
            Retry: Other tasks wrote in between each time.
            StageError: The store refused.
        """
        of, compared = started_id(outcome), outcome.compared
        if of is None or compared is None:
            return
        commit, now = outcome.commit or push.commit, self._clock()
        seen = SeenContent(compared.digest, commit, push.id, push.time)
        place = _HistoryPlace(
            self._keys.passed(push.repository, compared.history), push.repository, push.ref, of
        )
        await self._change(
            place,
            lambda history: history.begin(seen, of, now=now, is_newest=push.joins_order),
            self._known.pop(place.key, None),
        )

    async def record_end(self, started: StartedBuild, result: BuildResult) -> None:
        """Record how a build or execution has ended, if later pushes are compared with it.

        Args:
            started: The build.
            result: Its end. That of a later attempt is another end.

        Raises:
            Retry: Other tasks wrote in between each time.
            StageError: The store refused.
        """
        compared = started.compared
        if compared is None or not result.status.is_end:
            return
        ended_at = result.ended_at or result.observed_at
        seen = SeenContent(compared.digest, started.commit, started.event_id, ended_at)
        key = self._keys.passed(started.repository, compared.history)
        await self._change(
            _HistoryPlace(key, started.repository, started.ref, started.of),
            lambda history: history.end(seen, started.of, is_passed=result.status.is_passed),
        )

    async def _change(
        self,
        place: _HistoryPlace,
        change: Callable[[ContentHistory], ContentHistory],
        known: _KnownHistory | None = None,
    ) -> None:
        for _ in range(_TRIES):
            known = known or await self._read(place.key)
            history = change(known.history)
            if history == known.history:
                return
            body = history_record(history, repository=place.repository, ref=place.ref, of=place.of)
            if await self._records.replace_stored(place.key, body, etag=known.etag) is not None:
                return
            known = None
        raise Retry(f"record {place.key}: other tasks wrote it {_TRIES} times meanwhile")

    async def _read(self, key: str) -> _KnownHistory:
        stored = await self._records.read_stored(key)
        if stored is None:
            return _KnownHistory()
        try:
            return _KnownHistory(read_history(key, stored.body), stored.etag)
        except Reject:
            return _KnownHistory(etag=stored.etag)
