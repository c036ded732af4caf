"""Dispatch of prepared pushes in the order of the queue: staleness, builds, ledger (I2, I12)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_records import KnownHead
from asyncbuild.builds.quota import Quota
from asyncbuild.domain.errors import Retry, Scope, StageError
from asyncbuild.domain.events.push_events import PushBug, PushNothingToDo, outcome_event
from asyncbuild.domain.events.stage_events import PushStartStarted
from asyncbuild.domain.model import (
    Action,
    Guard,
    Message,
    Nothing,
    Outcome,
    RefKind,
    Target,
    Verdict,
)
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.domain.tally import PushPart, Tally
from asyncbuild.pushes.newer_starts import NewerStarts
from asyncbuild.pushes.staleness import Staleness
from asyncbuild.pushes.start_target import PushCase, TargetStarter
from asyncbuild.pushes.work import (
    Dispatch,
    FindsChanges,
    PreparesPushes,
    RecordsStarts,
    ReportsSkips,
)
from asyncbuild.runtime.emit import about, emit, stage
from asyncbuild.runtime.tasks import both


class Dispatcher:
    """Dispatches prepared pushes, one at a time for each repository, as the lane orders them.

    Args:
        ledger: Records what was done.
        pushes: Prepares a push again whose preparation failed.
        changes: Finds what is left out of a push by what was started, or passed, meanwhile.
        staleness: Finds why a push is not to be built.
        targets: Starts the builds.
        starts: Records what was started.
        skips: Reports what was left out; None for no reports.
        newer: Stops the older builds of a ref; None if no rule wants that.
    """

    def __init__(  # noqa: PLR0913 - each is another service, and given by name
        self,
        *,
        ledger: Ledger,
        pushes: PreparesPushes,
        changes: FindsChanges,
        staleness: Staleness,
        targets: TargetStarter,
        starts: RecordsStarts,
        skips: ReportsSkips | None = None,
        newer: NewerStarts | None = None,
    ) -> None:
        self._ledger = ledger
        self._quota = Quota(ledger)
        self._pushes = pushes
        self._changes = changes
        self._staleness = staleness
        self._targets = targets
        self._starts = starts
        self._skips = skips
        self._newer = newer

    async def dispatch(self, order: Dispatch, *, guard: Guard, tally: Tally) -> None:
        """Start the builds of a prepared message, in its turn, and record what was done.

        Each target of each push is settled on its own: a failure of one stops no other.

        Args:
            order: The prepared message, and facts about earlier tries.
            guard: Asked before anything is committed (I4).
            tally: Failures of the message's parts so far; takes the new ones.

        Raises:
            StageError: Something is still to be tried, or was given up. What was recorded before
                stays recorded.
        """
        work = order.prepared.work
        if isinstance(work.event, Nothing):
            guard()
            await self._record_nothing(work.message, work.event)
            return
        for fault in work.faults:
            tally.give_up(fault)
        waiting: set[str] = set()
        parts = len(work.faults)
        for each in order.prepared.pushes:
            push = each.push
            # The later of two pushes of one ref waits for the earlier one (I3).
            if push.ref in waiting:
                parts += each.parts
                continue
            with about(push):
                parts += await self._settle_push(PushCase(push, each, order, guard, tally))
            if tally.has_pending(push):
                waiting.add(push.ref)
        error = tally.verdict(time.monotonic(), parts=parts)
        if error is not None:
            raise error

    async def _record_nothing(self, message: Message, event: Nothing) -> None:
        """Record an event that asks for no build; of unsigned ones only a few each hour."""
        kept = True
        if event.unverified:
            kept, _ = await self._quota.take(message, f"{event.unverified}/nothing")
        if kept:
            await self._ledger.record_nothing(message, event)
        nothing = PushNothingToDo(event_id=event.id, reason=event.reason)
        emit(nothing, level="info" if kept else "debug")

    async def _settle_push(self, case: PushCase) -> int:
        """Settle the targets of a push that are due; return their number."""
        whole, prepared = PushPart(case.push), case.prepared
        if not case.tally.is_due(whole, time.monotonic()):
            return prepared.parts
        with _settling(whole, case):
            if prepared.failed is not None:
                if not case.tally.knows(whole):
                    raise prepared.failed
                prepared = await self._pushes.prepare(case.work, case.push, case.guard)
            prepared = await self._changes.look_again(prepared)
            await self._settle_targets(replace(case, prepared=prepared))
        return prepared.parts

    async def _settle_targets(self, case: PushCase) -> None:
        push, targets, stale = case.push, case.prepared.targets, case.prepared.stale
        head: KnownHead | None = None
        # Asked while it was prepared, and still true in its turn: no one but this message writes
        # these records, except an earlier try and an older message about the same event.
        if not case.order.is_first:
            targets = await self._ledger.find_undone(push, targets)
        if not stale and any(target.action is not Action.IGNORE for target in targets):
            head, stale = await self._staleness.look_back(case.work, push)
        if case.prepared.skipped and not stale:
            await self._tell_skips(case)
        done = [target for target in case.prepared.targets if target not in targets]
        for target in targets:
            part = PushPart(push, target)
            if case.tally.is_due(part, time.monotonic()):
                with _settling(part, case):
                    head = await self._settle_target(target, replace(case, head=head, stale=stale))
                    done.append(target)
        if len(done) == len(case.prepared.targets):
            await self._ledger.remember_body(push)
            await self._ledger.answer(push)

    async def _settle_target(self, target: Target, case: PushCase) -> KnownHead | None:
        """Do and record what a target asks for; return the ref's head, if it is known."""
        begun = time.monotonic()
        started = PushStartStarted(
            rule=target.rule, project=target.project, pipeline=target.pipeline
        )
        with stage(started):
            stale = case.stale or await self._staleness.why_done(case.push, target)
            outcome = await self._targets.start(target, replace(case, stale=stale))
        timings = {**case.prepared.timings, "start": time.monotonic() - begun}
        timings = {name: round(seconds, 4) for name, seconds in timings.items()}
        case.guard()
        head, started_build = case.head, None
        if outcome.archive is not None:
            head, started_build = await self._record_start(outcome, case)
        outcome = replace(outcome, timings=timings)
        await self._ledger.record(case.push, outcome)
        if started_build is not None and self._newer is not None:
            self._newer.notice(started_build, case.push, head)
        since = max(0.0, (datetime.now(UTC) - case.push.time).total_seconds())
        emit(outcome_event(outcome, since_push_seconds=round(since, 3)))
        return head

    async def _tell_skips(self, case: PushCase) -> None:
        """Report what was left out, before the records: they end the tries of the push.

        What a start, a pass or the commit's message left out is also recorded, beside what is
        built: the event of the push does not show it. A tag's object need not be a commit, and the
        status of a tag is not awaited.
        """
        left_out = [each.text for each in case.prepared.skipped if each.is_recorded]
        if left_out and any(each.action is not Action.IGNORE for each in case.prepared.targets):
            case.guard()
            ignored = Outcome(Verdict.IGNORED, "; ".join(left_out), Target(Action.IGNORE))
            await self._ledger.record(case.push, ignored)
        if self._skips is not None and case.push.kind is RefKind.BRANCH:
            case.guard()
            await self._skips.send_skips(case.push, case.prepared.skipped)

    async def _record_start(
        self, outcome: Outcome, case: PushCase
    ) -> tuple[KnownHead | None, StartedBuild | None]:
        """Record the head and the index of starts side by side; return head and index entry.

        Before the record: a recorded target is done, so no later try would write these.
        """
        push = case.push
        head, started = await both(
            lambda: self._set_head(case), lambda: self._starts.record_start(push, outcome)
        )
        if started is not None and self._newer is not None:
            await self._newer.add(started, push, head)
        return head, started

    async def _set_head(self, case: PushCase) -> KnownHead | None:
        if not case.push.joins_order:
            return case.head
        group = case.work.message.group
        return await self._ledger.set_head(case.push, case.head, group=group)


@contextmanager
def _settling(part: PushPart, case: PushCase) -> Iterator[None]:
    """Record a failure of the body in the tally; errors of the whole lane pass."""
    try:
        yield
    except StageError as error:
        if error.scope is not Scope.PUSH:
            raise
        case.tally.fail(part, error, time.monotonic())
    except Exception as error:  # noqa: BLE001 - a bug is one part's failure
        emit(PushBug(message_id=case.work.message.id), error=error)
        told = Retry(f"internal error: {type(error).__name__}: {error}")
        case.tally.fail(part, told, time.monotonic())
    else:
        case.tally.succeed(part)
