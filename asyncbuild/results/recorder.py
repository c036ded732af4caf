"""Recorder of results: writes the states of builds to the ledger, and reports their ends."""

from datetime import datetime
from typing import Protocol

from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.events.result_events import ResultRecorded
from asyncbuild.domain.results.build_result import BuildResult, StartedKind
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.results.facts.attempt_facts import AttemptFacts, result_of_gone
from asyncbuild.results.superseding.superseded_ends import SupersededEnds
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import about, emit


class ReportsEnds(Protocol):
    """Reports how builds ended; `reports.report_sender.ReportSender` does."""

    async def send_end(self, started: StartedBuild, result: BuildResult) -> None:
        """Report an end. Raises StageError."""


class TellsOutcomes(Protocol):
    """Tells how builds ended to others; `reports.outcomes.outcome_sender.OutcomeSender` does."""

    async def tell_end(self, started: StartedBuild, result: BuildResult) -> None:
        """Tell an end, or see to it that it is told later. Raises StageError."""


class RecordsEnds(Protocol):
    """Records ends for later pushes; `builds.content_ledger.ContentLedger` does."""

    async def record_end(self, started: StartedBuild, result: BuildResult) -> None:
        """Record an end. Raises StageError."""


class ResultRecorder:
    """Records results, and removes the marks of builds that have ended.

    Args:
        ledger: Results and marks.
        contents: Records the ends of contents that later pushes are compared with; None for none.
        reports: Reports the ends, after they are recorded; None for no reports.
        outcomes: Tells the ends, after they are recorded; None for no outcome events.
        superseded: Tells which builds were stopped for a newer push.
        clock: Clock.
    """

    def __init__(
        self,
        ledger: ResultLedger,
        *,
        contents: RecordsEnds | None = None,
        reports: ReportsEnds | None = None,
        outcomes: TellsOutcomes | None = None,
        superseded: SupersededEnds | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._ledger = ledger
        self._contents = contents
        self._reports = reports
        self._outcomes = outcomes
        self._superseded = superseded
        self._clock = clock

    async def record(
        self, started: StartedBuild, facts: AttemptFacts, *, by_sweep: bool = False
    ) -> bool:
        """Record the state of a build; return whether it was newer than the recorded one.

        The mark is removed after the record is written, so that a process that dies in between
        leaves a mark too many, never one too few. While CodeBuild may make another attempt, the
        mark stays.

        Args:
            started: The build.
            facts: Its newest attempt.
            by_sweep: Whether a round found the state, and no event.

        Raises:
            StageError: The store refused.
        """
        result = facts.result_of(started.of)
        if self._superseded is not None:
            result = await self._superseded.complete(started, result)
        written = await self._write(started, result, by_sweep=by_sweep)
        if result.status.is_end and not facts.may_be_retried(self._clock()):
            await self._finish(started, result, written=written)
        return written

    async def record_gone(self, started: StartedBuild) -> bool:
        """Record a build that its service does not know any more; return whether it was written.

        Args:
            started: The build.

        Raises:
            StageError: The store refused.
        """
        known = await self._find_result(started)
        begun, now = started.started_at, self._clock()
        result = result_of_gone(started.of, known, started_at=begun, now=now)
        written = await self._write(started, result, by_sweep=True)
        await self._finish(started, result, written=written)
        return written

    async def _finish(self, started: StartedBuild, result: BuildResult, *, written: bool) -> None:
        """Report an end, then remove the mark: an end that cannot be reported is found again.

        What is on record is reported, which is another state if the seen one was not written. It
        may be that of a later build of the push, which is reported when that one ends.
        """
        if self._contents is not None:
            await self._contents.record_end(started, result)
        if self._reports is not None or self._outcomes is not None:
            recorded = None if written else await self._find_result(started)
            told = recorded or result
            if told.of == started.of:
                await self._tell(started, told)
        if self._superseded is not None:
            await self._superseded.finish(started)
        await self._ledger.finish(started.of)

    async def _tell(self, started: StartedBuild, told: BuildResult) -> None:
        """Report an end and tell it to others; a failure of the one does not stop the other."""
        try:
            if self._reports is not None:
                await self._reports.send_end(started, told)
        finally:
            if self._outcomes is not None:
                await self._outcomes.tell_end(started, told)

    async def _find_result(self, started: StartedBuild) -> BuildResult | None:
        """Return the result on record; None without one, or if it cannot be read."""
        try:
            return await self._ledger.find_result(started)
        except Reject:
            return None

    async def _write(self, started: StartedBuild, result: BuildResult, *, by_sweep: bool) -> bool:
        if not await self._ledger.record_result(started, result):
            return False
        with about(started.identity):
            emit(_recorded(started, result, now=self._clock(), by_sweep=by_sweep))
        return True


def _recorded(
    started: StartedBuild, result: BuildResult, *, now: datetime, by_sweep: bool
) -> ResultRecorded:
    of, ended = started.of, result.ended_at
    is_execution = of.kind is StartedKind.EXECUTION
    since_end = (now - ended).total_seconds() if ended else None
    since_push = (ended - started.pushed_at).total_seconds() if ended else None
    return ResultRecorded(
        status=result.status,
        project=None if is_execution else of.name,
        pipeline=of.name if is_execution else None,
        build_id=of.id,
        attempt=result.attempt,
        build_number=result.number,
        phase=result.phase,
        exit_code=result.exit_code,
        queued_seconds=result.queued_seconds,
        provisioning_seconds=result.provisioning_seconds,
        building_seconds=result.building_seconds,
        total_seconds=_seconds(result.total_seconds),
        since_end_seconds=_seconds(since_end),
        since_push_seconds=_seconds(since_push),
        started_at=result.started_at,
        ended_at=ended,
        log_link=result.log_link or None,
        build_arn=None if is_execution else started.arn or None,
        pipeline_arn=started.arn or None if is_execution else None,
        by_sweep=by_sweep or None,
        superseded_by=result.superseded_by or None,
        superseded_by_commit=result.superseded_by_commit or None,
    )


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(max(0.0, value), 3)
