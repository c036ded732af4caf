"""Watch over a request: reads the ledger until all that it started has ended.

One object is read until the request is settled, then one for each build that has not ended, with
growing pauses of at most `PAUSE_MOST_SECONDS`.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import anyio

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.commands.build.build_outcome import (
    Record,
    WaitEnd,
    describe_end,
    describe_record,
    iter_unfinished,
    name_of_target,
    wait_end_of,
)
from asyncbuild.domain.errors import Kind, StageError
from asyncbuild.domain.model import Push, Verdict
from asyncbuild.domain.results.build_result import BuildResult, StartedId

if TYPE_CHECKING:
    from asyncbuild.domain.results.started_build import StartedBuild

PAUSE_MOST_SECONDS: Final = 15.0
_FIRST_SECONDS: Final = 0.5
_GROWTH: Final = 1.5
_Answer = TypeVar("_Answer")


class TellsStage(Protocol):
    """Tells what a running service does for a push; `service_stage.ServiceStage` does."""

    async def find(self, event_id: str) -> str:
        """Return it in words; empty if that is not known."""


class BuildWatch:
    """Follows one request; what it has seen is in its attributes, however it ends.

    Args:
        ledger: Has the records of pushes.
        results: Has the results of what they started.
        stage: Tells what the service does before there are records.
        tell: Called with each line of news.

    Attributes:
        records: Records of the push, or of the earlier one that has done the same.
        results: Results by what was started.
    """

    def __init__(
        self,
        ledger: Ledger,
        results: ResultLedger,
        stage: TellsStage,
        tell: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._results = results
        self._stage = stage
        self._tell = tell
        self._index: dict[StartedId, StartedBuild] = {}
        self.records: list[Record] = []
        self.results: dict[StartedId, BuildResult] = {}

    @property
    def end(self) -> WaitEnd:
        """End by what was seen so far."""
        return wait_end_of(self.records, self.results)

    async def follow(self, push: Push) -> None:
        """Wait until a request is settled, and all that it started has ended.

        Raises:
            StageError: The ledger refused.
        """
        records = await self._wait_for_answer(push)
        for each in records:
            self._tell(describe_record(each))
        self.records = records
        await self.follow_records(await self._done_earlier(push, records))

    async def follow_records(self, records: Sequence[Record]) -> None:
        """Wait until all that records name has ended. Raises as `follow`."""
        for seconds in iter_pauses():
            await self.look(records)
            if not any(iter_unfinished(self.records, self.results)):
                return
            await anyio.sleep(seconds)

    async def look(self, records: Sequence[Record]) -> None:
        """Read the newest result of each build that records name, unless it has ended.

        Raises as `follow`.
        """
        self.records = list(records)
        for of in list(iter_unfinished(self.records, self.results)):
            await self._look_at(of)

    async def _wait_for_answer(self, push: Push) -> list[Record]:
        told = ""
        for seconds in iter_pauses():
            found = await _patiently(lambda: self._ledger.find_answer(push.repository, push.id))
            if found:
                return found
            stage = await self._stage.find(push.id)
            if stage and stage != told:
                self._tell(stage)
            told = stage or told
            await anyio.sleep(seconds)
        raise AssertionError  # pauses have no end

    async def _done_earlier(self, push: Push, records: list[Record]) -> list[Record]:
        """Return the records with those of the earlier push that has done the same, if one has."""
        stale = [each for each in records if each.get("verdict") == Verdict.STALE]
        if not stale:
            return records
        head = await self._ledger.find_head(push.repository, push.ref)
        if head is None or head.event_id == push.id or head.commit != stale[0].get("commit"):
            return records
        before = replace(push, id=head.event_id, time=head.time)
        earlier = await self._ledger.find_records_of(before)
        names = {name_of_target(each) for each in stale}
        same = [each for each in earlier if name_of_target(each) in names]
        for each in same:
            self._tell(describe_record(each))
        return [*(each for each in records if each not in stale), *(same or stale)]

    async def _look_at(self, of: StartedId) -> None:
        """Read the newest result of a build; tell it, if it is news."""
        if of not in self._index:
            started = await _patiently(lambda: self._results.find_started(of))
            if started is None:
                return
            self._index[of] = started
        found = await _patiently(lambda: self._results.find_result(self._index[of]))
        if found is None or found.of != of:
            return
        known = self.results.get(of)
        self.results[of] = found
        if known is None or known.status is not found.status:
            self._tell(describe_end(of, found))


def iter_pauses() -> Iterator[float]:
    """Yield pauses in seconds, each longer than the one before, up to `PAUSE_MOST_SECONDS`."""
    seconds = _FIRST_SECONDS
    while True:
        yield seconds
        seconds = min(PAUSE_MOST_SECONDS, seconds * _GROWTH)


async def _patiently(ask: Callable[[], Awaitable[_Answer | None]]) -> _Answer | None:
    """Return an answer; None if a limit or an outage prevents it now: it is asked for again."""
    try:
        return await ask()
    except StageError as error:
        if error.kind.is_waited_out or error.kind is Kind.RETRY:
            return None
        raise
