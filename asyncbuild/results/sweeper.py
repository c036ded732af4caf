"""Round over all unfinished builds, which finds the ends that no event told."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from asyncbuild.builds.result_ledger import ResultLedger, UnfinishedMark
from asyncbuild.domain.errors import Denied, Kind, Reject, StageError
from asyncbuild.domain.events.result_events import ResultDelayed, ResultsSwept
from asyncbuild.domain.results.build_result import StartedId
from asyncbuild.results.build_questions import Answer, Answers
from asyncbuild.results.facts.attempt_facts import GONE_AFTER
from asyncbuild.results.facts.patience import PATIENCE
from asyncbuild.results.finder import ResultFinder
from asyncbuild.results.recorder import ResultRecorder
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.tasks import for_each


class AsksManyBuilds(Protocol):
    """Asks for the states of many builds; `results.build_questions.BuildQuestions` does."""

    async def ask_all(self, ofs: Sequence[StartedId]) -> Answers:
        """Return the states of all of them now; an error takes the place of its answer."""


class SendsUnsent(Protocol):
    """Sends the outcome events that wait; `reports.outcomes.outcome_sender.OutcomeSender` does."""

    async def send_unsent(self) -> None:
        """Send them, oldest first. Raises no `StageError`."""


class StopsSuperseded(Protocol):
    """Stops superseded builds; `results.superseding.cancel_worker.CancelWorker` does."""

    async def settle_all(self) -> None:
        """Stop all that is superseded. Raises StageError if that cannot be found out."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """One marked build after the round: whether it has ended, was recorded now, or failed.

    `kind` and `reason` are of a failure that stops no other build, and that each round would meet;
    `error` is any other one.
    """

    mark: UnfinishedMark
    ended: bool = False
    written: bool = False
    kind: Kind = Kind.REJECT
    reason: str = ""
    error: StageError | None = None


class Sweeper:
    """Asks for all builds that are marked as unfinished.

    Args:
        ledger: Has the marks, and the index of starts.
        questions: Asks for their states.
        finder: Finds their newest attempts.
        recorder: Records their states.
        outcomes: Sends the outcome events that wait; None for none.
        superseded: Stops builds that a newer push has superseded; None if no rule wants that.
        clock: Clock.
    """

    def __init__(
        self,
        *,
        ledger: ResultLedger,
        questions: AsksManyBuilds,
        finder: ResultFinder,
        recorder: ResultRecorder,
        outcomes: SendsUnsent | None = None,
        superseded: StopsSuperseded | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self._ledger = ledger
        self._questions = questions
        self._finder = finder
        self._recorder = recorder
        self._outcomes = outcomes
        self._superseded = superseded
        self._clock = clock

    async def sweep(self) -> ResultsSwept:
        """Record the ends of builds that no event has told; return what the round found.

        Then stop the superseded builds that are still running.

        A build that was started less than ten minutes ago is not asked for: its event may come.

        What concerns one build or project alone is told, once for each reason, and fails no round:
        a record that cannot be read, a right that is missing.

        Raises:
            StageError: The first error of those builds that could not be asked for or recorded; all
                others were.
        """
        begun, now = time.monotonic(), self._clock()
        if self._outcomes is not None:
            await self._outcomes.send_unsent()
        marks = await self._ledger.find_unfinished()
        due = [each for each in marks if now - each.since >= PATIENCE]
        answers = await self._questions.ask_all([each.of for each in due])
        looked = await for_each(lambda mark: self._look(mark, answers.get(mark.of), now), due)
        ended = {each.mark.of for each in looked if each.ended}
        left = [each.since for each in marks if each.of not in ended]
        swept = ResultsSwept(
            unfinished=len(left),
            asked=len(due),
            found=sum(each.written for each in looked),
            oldest_seconds=round(max(0.0, (now - min(left, default=now)).total_seconds()), 1),
            seconds=round(time.monotonic() - begun, 3),
        )
        emit(swept)
        _tell_failures(looked)
        if self._superseded is not None:
            await self._superseded.settle_all()
        for error in (each.error for each in looked):
            if error is not None:
                raise error
        return swept

    async def _look(self, mark: UnfinishedMark, answer: Answer | None, now: datetime) -> _Looked:
        """Record one build if it has ended. An error is returned, so that it stops no other."""
        try:
            return await self._settle(mark, answer, now)
        except (Reject, Denied) as error:
            return _Looked(mark, kind=error.kind, reason=str(error))
        except StageError as error:
            return _Looked(mark, error=error)
        except Exception as error:  # noqa: BLE001 - a bug is one build's failure
            told = f"internal error: {type(error).__name__}: {error}"
            return _Looked(mark, kind=Kind.BUG, reason=told)

    async def _settle(self, mark: UnfinishedMark, facts: Answer | None, now: datetime) -> _Looked:
        if isinstance(facts, StageError):
            raise facts
        gone = facts is None and now - mark.since >= GONE_AFTER
        if facts is not None:
            facts = await self._finder.follow(facts)
        if not gone and (facts is None or not facts.result.status.is_end):
            return _Looked(mark)
        started = await self._ledger.find_started(mark.of)
        if started is None:  # its process died between two writes, and its push was given up
            if now - mark.since >= GONE_AFTER:
                await self._ledger.finish(mark.of)
            return _Looked(mark)
        if facts is None:
            return _Looked(mark, ended=True, written=await self._recorder.record_gone(started))
        written = await self._recorder.record(started, facts, by_sweep=True)
        return _Looked(mark, ended=not facts.may_be_retried(now), written=written)


def _tell_failures(looked: Sequence[_Looked]) -> None:
    """Tell what each round would meet; once for builds with one reason, as those of a project."""
    failed = {each.reason: each for each in reversed(looked) if each.reason}
    for reason, each in failed.items():
        delayed = ResultDelayed(
            message_id="",
            build_id=each.mark.of.id,
            kind=each.kind,
            reason=reason,
            retry_in_seconds=0,
        )
        emit(delayed)
