"""What must happen in the order of the queue: staleness, builds, the ledger (I2, I12)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from asyncbuild.builds.codebuild import TOKEN_TRUSTED_SECONDS
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_records import Head
from asyncbuild.builds.quota import Quota
from asyncbuild.builds.requests.start_build import variables_of
from asyncbuild.builds.starters import StartContext, Starters
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Reject, Retry, Scope, StageError, Unreachable
from asyncbuild.domain.events.push_events import PushBug, PushNothingToDo, outcome_event
from asyncbuild.domain.events.stage_events import PushStartStarted
from asyncbuild.domain.key_template import is_own
from asyncbuild.domain.model import (
    Action,
    Guard,
    Message,
    Nothing,
    Outcome,
    Push,
    StoredArchive,
    Target,
    Verdict,
    root_span_id,
    trace_id,
)
from asyncbuild.domain.started_before import may_have_started, search_from
from asyncbuild.domain.tally import PushPart, Tally
from asyncbuild.pushes.ancestry import History
from asyncbuild.pushes.archives import Archives
from asyncbuild.pushes.work import Dispatch, PreparedPush, PreparesPushes, Work
from asyncbuild.runtime.emit import about, emit, stage


@dataclass(frozen=True, slots=True)
class _Case:
    """One push in its turn.

    Attributes:
        head: The newest push built of the ref, if it was read.
        stale: Why nothing is to be built; empty if something is.
        commit: The push's own, or what its annotated tag points at.
    """

    push: Push
    prepared: PreparedPush
    order: Dispatch
    guard: Guard
    tally: Tally
    head: Head | None = None
    stale: str = ""
    commit: str = ""

    @property
    def work(self) -> Work:
        """The message of the push."""
        return self.order.prepared.work

    @property
    def look_since(self) -> datetime | None:
        """The time from which on to search for what this push has started; None if it has not."""
        message = self.work.message
        started = may_have_started(
            self.push,
            message,
            tried_seconds_ago=self.order.tried_seconds_ago,
            is_duplicate=self.order.is_duplicate,
            token_trusted_seconds=TOKEN_TRUSTED_SECONDS,
        )
        return search_from(self.push, message) if started else None


class Dispatcher:
    """Dispatches prepared pushes, one at a time for each repository: the lane sees to that."""

    def __init__(
        self,
        *,
        starters: Starters,
        ledger: Ledger,
        pushes: PreparesPushes,
        archives: Archives,
        history: History,
        settings: Settings,
    ) -> None:
        self._starters = starters
        self._ledger = ledger
        self._quota = Quota(ledger)
        self._pushes = pushes
        self._archives = archives
        self._history = history
        self._skip_stale = settings.lanes.stale == "skip"
        self._traced = settings.status.traces

    async def dispatch(self, order: Dispatch, *, guard: Guard, tally: Tally) -> None:
        """Start the builds of a prepared message, in its turn, and record what was done.

        Each target of each push is settled on its own: one that fails stops no other.

        Args:
            order: What is to be started, and what is known of earlier tries.
            guard: Asked before anything is committed (I4).
            tally: What of the message failed before; keeps what fails now.

        Raises:
            StageError: something is still to be tried, or was given up. What was recorded before
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
        for each in order.prepared.pushes:
            push = each.push
            # Of two pushes of one ref the later one waits for the earlier one (I3).
            if push.ref in waiting:
                continue
            with about(push):
                await self._settle_push(_Case(push, each, order, guard, tally))
            if tally.has_pending(push):
                waiting.add(push.ref)
        error = tally.verdict(time.monotonic(), parts=order.prepared.parts)
        if error is not None:
            raise error

    async def _record_nothing(self, message: Message, event: Nothing) -> None:
        """Record an event that asks for no build; of those that nobody signed a few each hour."""
        kept = True
        if event.unverified:
            kept, _ = await self._quota.take(message, f"{event.unverified}/nothing")
        if kept:
            await self._ledger.record_nothing(message, event)
        nothing = PushNothingToDo(event_id=event.id, reason=event.reason)
        emit(nothing, level="info" if kept else "debug")

    async def _settle_push(self, case: _Case) -> None:
        whole = PushPart(case.push)
        if not case.tally.is_due(whole, time.monotonic()):
            return
        with _settling(whole, case):
            prepared = case.prepared
            if prepared.failed is not None:
                if not case.tally.knows(whole):
                    raise prepared.failed
                prepared = await self._pushes.prepare(case.work, case.push, case.guard)
            await self._settle_targets(replace(case, prepared=prepared))

    async def _settle_targets(self, case: _Case) -> None:
        push, targets, stale = case.push, case.prepared.targets, case.prepared.stale
        head: Head | None = None
        if not case.order.is_first:  # the try before this one may have done some of them
            targets = await self._ledger.find_undone(push, targets)
        if not stale and any(target.action is not Action.IGNORE for target in targets):
            head, stale = await self._look_back(case.work, push)
        done = [target for target in case.prepared.targets if target not in targets]
        for target in targets:
            part = PushPart(push, target)
            if case.tally.is_due(part, time.monotonic()):
                with _settling(part, case):
                    head = await self._settle_target(target, replace(case, head=head, stale=stale))
                    done.append(target)
        if len(done) == len(case.prepared.targets):
            await self._ledger.remember_body(push)

    async def _settle_target(self, target: Target, case: _Case) -> Head | None:
        """Do and record what a target asks for; return the ref's newest push, if it is known."""
        begun = time.monotonic()
        started = PushStartStarted(
            rule=target.rule, project=target.project, pipeline=target.pipeline
        )
        with stage(started):
            outcome = await self._do(target, case)
        timings = {**case.prepared.timings, "start": time.monotonic() - begun}
        timings = {name: round(seconds, 4) for name, seconds in timings.items()}
        case.guard()
        head = case.head
        if outcome.archive is not None:
            # First: what is recorded is done, and no later try would see to its head.
            head = await self._ledger.set_head(case.push, head)
        outcome = replace(outcome, timings=timings)
        await self._ledger.record(case.push, outcome)
        since = max(0.0, (datetime.now(UTC) - case.push.time).total_seconds())
        emit(outcome_event(outcome, since_push_seconds=round(since, 3)))
        return head

    async def _do(self, target: Target, case: _Case) -> Outcome:
        if target.action is Action.IGNORE:
            return Outcome(Verdict.IGNORED, f"rule: {target.rule}", target)
        if case.stale:
            return Outcome(Verdict.STALE, case.stale, target)
        if target.fault:
            raise Reject(target.fault)
        try:
            archive = await self._find_archive(target, case)
        except Unreachable as error:
            return Outcome(Verdict.STALE, error.reason, target)
        if target.action is Action.UPLOAD:
            return Outcome(Verdict.UPLOADED, f"rule: {target.rule}", target, archive)
        return await self._start(target, archive, case)

    async def _find_archive(self, target: Target, case: _Case) -> StoredArchive:
        """Return the target's archive: prepared, uploaded by an earlier try, or uploaded now."""
        made, push = (case.push.id, target.key), case.push
        archive = case.prepared.archives.get(target.key) or case.tally.archives.get(made)
        if archive is not None:
            return archive
        failure = case.prepared.failures.get(target.key)
        if failure is not None and not case.tally.knows(PushPart(push, target)):
            raise failure
        # An object that other pushes write too is written in order, hence only now (I2).
        archive = await self._archives.ensure(case.work, push, target, case.guard)
        # A build reads the version. Without versions the object may be another push's by then.
        if archive.version_id or is_own(push.commit, target.key):
            case.tally.archives[made] = archive
        return archive

    async def _start(self, target: Target, archive: StoredArchive, case: _Case) -> Outcome:
        reason = f"rule: {target.rule}"
        case = replace(case, commit=await self._history.peel(case.work, case.push))
        start = StartContext(case.push, self._variables(target, case), case.look_since, case.guard)
        if target.action is Action.PIPELINE:
            execution = await self._starters.hand_over(target, archive, start)
            return Outcome(Verdict.HANDED_OVER, reason, target, archive, execution=execution)
        build = await self._starters.build(target, archive, start)
        return Outcome(Verdict.BUILT, reason, target, archive, build)

    def _variables(self, target: Target, case: _Case) -> dict[str, str]:
        push = case.push
        variables = variables_of(push, target, commit=case.commit)
        if self._traced:
            variables["TRACEPARENT"] = f"00-{trace_id(push.id)}-{root_span_id(push.id)}-01"
        oldest = case.order.covers[0].push if case.order.covers else None
        if oldest is not None and oldest.old_commit:
            variables["OLD_COMMIT_ID"] = oldest.old_commit
        return variables

    async def _look_back(self, work: Work, push: Push) -> tuple[Head | None, str]:
        """Return the newest push built of the ref, if it was read, and why this one is not built.

        The reason is empty if it is to be built.
        """
        before = await self._ledger.find_repeated(push)
        if not before and not self._skip_stale:
            return None, ""
        head = await self._ledger.head(push)
        why = await self._why_repeated(push, head, before) if before else ""
        if not why and self._skip_stale:
            why = await self._why_stale(work, push, head)
        return head, why

    async def _why_repeated(self, push: Push, head: Head | None, before: str) -> str:
        """Return why a signed body that was settled as event `before` asks for nothing now.

        A ref that is pushed back and forth gives equal bodies, and each is a push: then the ref is
        at the commit, and another one was built last.
        """
        if await self._ledger.is_forced(push):
            return ""
        if head and head.event_id == push.id:
            return ""  # an earlier try came as far as that
        if head and head.commit == push.commit:
            return f"the same delivery was settled before, as event {before}"
        if not await self._history.is_at_tip(push):
            return f"the same delivery was settled before, as event {before}; the ref has moved on"
        return ""

    async def _why_stale(self, work: Work, push: Push, head: Head | None) -> str:
        """Return why the push is overtaken, or nothing: ancestry decides, not arrival.

        Only a push that is older than the newest one built of its ref can be. A force push back, or
        a branch that was deleted and made again, is newer by its own time, or names the built
        commit as its old one. If the event does not tell its time, the repository is asked.
        """
        if head is None or head.event_id == push.id:
            return ""
        if push.old_commit == head.commit or (push.timed and push.time >= head.time):
            return ""
        try:
            older = await self._history.is_contained(work, push, head.commit)
            if older and not push.timed:
                older = not await self._history.goes_back(work, push, head.commit)
        except Unreachable as error:
            return error.reason
        if not older or await self._ledger.is_forced(push):
            return ""
        return f"commit {head.commit}, which contains it, was built before"


@contextmanager
def _settling(part: PushPart, case: _Case) -> Iterator[None]:
    """Keep a failure inside for the tally; what concerns the whole lane passes."""
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
