"""Start of one target of a dispatched push: finds its archive, starts its build (I12)."""

from dataclasses import dataclass, replace
from datetime import datetime

from asyncbuild.builds.codebuild import TOKEN_TRUSTED_SECONDS
from asyncbuild.builds.ledger_records import KnownHead
from asyncbuild.builds.requests.start_build import variables_of
from asyncbuild.builds.starters import StartContext, Starters
from asyncbuild.domain.errors import Reject, Unreachable
from asyncbuild.domain.key_template import is_own
from asyncbuild.domain.model import (
    Action,
    Guard,
    Outcome,
    Push,
    StoredArchive,
    Target,
    Verdict,
    root_span_id,
    trace_id,
)
from asyncbuild.domain.rules.targets import name_of
from asyncbuild.domain.started_before import may_have_started, search_from
from asyncbuild.domain.tally import PushPart, Tally
from asyncbuild.pushes.ancestry import History
from asyncbuild.pushes.work import Dispatch, EnsuresArchives, PreparedPush, Work


@dataclass(frozen=True, slots=True)
class PushCase:
    """A push that is being dispatched, with the facts that are known.

    Attributes:
        push: The push.
        prepared: Its targets, and what was prepared for them.
        order: The message that it is part of.
        guard: Called before anything is committed (I4).
        tally: Failures of the message's parts.
        head: Head of the ref, if it was read.
        stale: Why nothing is to be built; empty if something is.
    """

    push: Push
    prepared: PreparedPush
    order: Dispatch
    guard: Guard
    tally: Tally
    head: KnownHead | None = None
    stale: str = ""

    @property
    def work(self) -> Work:
        """Message of the push."""
        return self.order.prepared.work

    @property
    def look_since(self) -> datetime | None:
        """Time from which to search for what this push has started; None if it started nothing."""
        message = self.work.message
        started = may_have_started(
            self.push,
            message,
            tried_seconds_ago=self.order.tried_seconds_ago,
            is_duplicate=self.order.is_duplicate,
            token_trusted_seconds=TOKEN_TRUSTED_SECONDS,
        )
        return search_from(self.push, message) if started else None


class TargetStarter:
    """Starts the builds of targets, one at a time.

    Args:
        starters: Services that build.
        archives: Uploads an archive that was not prepared.
        history: Finds the commit that an annotated tag points at.
        traced: Whether builds are given a `TRACEPARENT`.
    """

    def __init__(
        self, *, starters: Starters, archives: EnsuresArchives, history: History, traced: bool
    ) -> None:
        self._starters = starters
        self._archives = archives
        self._history = history
        self._traced = traced

    async def start(self, target: Target, case: PushCase) -> Outcome:
        """Do what a target asks for, and return what was done.

        Raises:
            StageError: The archive could not be made, or the build not started.
        """
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
        return await self._start_build(target, archive, case)

    async def _find_archive(self, target: Target, case: PushCase) -> StoredArchive:
        """Return the target's archive: prepared, uploaded by an earlier try, or uploaded now."""
        made, push = (case.push.id, target.key), case.push
        archive = case.prepared.archives.get(target.key) or case.tally.archives.get(made)
        if archive is not None:
            return archive
        failure = case.prepared.failures.get(target.key)
        if failure is not None and not case.tally.knows(PushPart(push, target)):
            raise failure
        # An object that other pushes write, too, is written in order, hence only now (I2).
        archive = await self._archives.ensure(case.work, push, target, case.guard)
        # A build reads the version. Without versions the object may be another push's by then.
        if archive.version_id or is_own(push.commit, target.key):
            case.tally.archives[made] = archive
        return archive

    async def _start_build(self, target: Target, archive: StoredArchive, case: PushCase) -> Outcome:
        reason = f"rule: {target.rule}"
        commit = await self._history.peel(case.work, case.push)
        compared = case.prepared.compared.get(name_of(target))
        content = None if compared is None else compared.content
        variables = self._variables(target, case, commit)
        start = StartContext(case.push, variables, case.look_since, case.guard)
        if target.action is Action.PIPELINE:
            execution = await self._starters.hand_over(target, archive, start)
            outcome = Outcome(Verdict.HANDED_OVER, reason, target, archive, execution=execution)
        else:
            build = await self._starters.build(target, archive, start)
            outcome = Outcome(Verdict.BUILT, reason, target, archive, build)
        return replace(outcome, commit=commit, compared=content)

    def _variables(self, target: Target, case: PushCase, commit: str) -> dict[str, str]:
        push = case.push
        variables = variables_of(push, target, commit=commit, base=self._base(target, case))
        if self._traced:
            variables["TRACEPARENT"] = f"00-{trace_id(push.id)}-{root_span_id(push.id)}-01"
        oldest = case.order.covers[0].push if case.order.covers else None
        if oldest is not None and oldest.old_commit:
            variables["OLD_COMMIT_ID"] = oldest.old_commit
        return variables

    def _base(self, target: Target, case: PushCase) -> str:
        """Return the commit that a target is compared with; empty if there is none.

        It stays the same for all tries of a delivery: CodeBuild refuses a known idempotency token
        with other variables.
        """
        compared = case.prepared.compared.get(name_of(target))
        if compared is None:
            return ""
        return case.tally.bases.setdefault((case.push.id, *name_of(target)), compared.base)
