"""What is left out since it passed or was started, against a model with late and lost results.

`ASYNCBUILD_WORLD_EXAMPLES` sets how many lines of pushes are tried; `make chaos` asks for 5,000.
"""

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support.codebuild import make_push
from support.records import Records

from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.result_records import read_started, started_by, started_record
from asyncbuild.domain.contents.compared_content import ChangesSince
from asyncbuild.domain.contents.content_history import RUNNING_MOST, RUNS_FOR
from asyncbuild.domain.contents.known_changes import KnownChanges, LeftOut, history_name
from asyncbuild.domain.model import Action, Build, Outcome, Push, Target, Verdict
from asyncbuild.domain.requests.request_terms import RequestTerms
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.domain.rules.rule import Rule
from asyncbuild.domain.rules.targets import targets_of

_EXAMPLES: Final = int(os.environ.get("ASYNCBUILD_WORLD_EXAMPLES", "80"))
_STEPS: Final = 60 if _EXAMPLES >= 1_000 else 40
_BEGIN: Final = datetime(2026, 11, 30, 8, 0, 0, tzinfo=UTC)
_CHANGES: Final = ("api",)
_KEYS: Final = LedgerKeys("l/")
_T = TypeVar("_T")
_CONTENTS: Final = st.sampled_from("aab")
_GOOD, _BAD = BuildStatus.SUCCEEDED, BuildStatus.FAILED
_ENDS: Final = st.sampled_from([_GOOD, _BAD, BuildStatus.STOPPED])
# End of a build, and whether it is told at once. None: the build goes on.
_COURSES: Final = st.sampled_from(
    [None, (_GOOD, True), (_GOOD, True), (_GOOD, False), (_BAD, True), (_BAD, False)]
)
_SELDOM: Final = st.sampled_from([False] * 9 + [True])


@dataclass
class _Run:
    """A build of the model."""

    push: Push
    content: str
    form: str  # name of the history: another one for another form of the rule
    outcome: Outcome
    started: StartedBuild
    in_order: bool
    recorded: bool = False
    status: BuildStatus | None = None
    ended_at: datetime = _BEGIN
    told: bool = False


@dataclass
class _Model:
    """All that happened, and what was told of it since the record was lost last."""

    runs: list[_Run] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)  # forms whose record was lost

    def of(self, form: str, content: str = "") -> list[_Run]:
        """Return the builds of a form of the rule, and of a content if one is named."""
        mine = (each for each in self.runs if each.form == form)
        return [each for each in mine if content in {"", each.content}]


def _rule(since: ChangesSince, stage: str) -> Rule:
    return Rule(
        name="api",
        repository=("*",),
        ref=("refs/heads/*",),
        action=Action.BUILD,
        projects=("web",),
        variables={"STAGE": stage},
        changes=_CHANGES,
        changes_since=since,
    )


class Contents(RuleBasedStateMachine):
    """Pushes of one ref, whose builds are started by two processes and end as they like."""

    @initialize(since=st.sampled_from([ChangesSince.PASSED, ChangesSince.STARTED]))
    def begin(self, since: ChangesSince) -> None:
        """Open two processes on one bucket."""
        self.runner = asyncio.Runner()
        self.now = _BEGIN
        self.records = Records()
        self.ledgers = [
            ContentLedger(self.records, prefix="l/", clock=self._clock) for _ in range(2)
        ]
        self.since = since
        self.rule = _rule(since, "one")
        self.model = _Model()
        self.numbers = 0

    def _clock(self) -> datetime:
        return self.now

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(work)

    def teardown(self) -> None:
        """Close the loop."""
        if hasattr(self, "runner"):
            self.runner.close()

    # --- what happens -----------------------------------------------------------------------------

    @rule(content=_CONTENTS, process=st.integers(0, 1), course=_COURSES)
    def push(self, content: str, process: int, course: tuple[BuildStatus, bool] | None) -> None:
        """Push a commit."""
        self._settle(self._make_push(self.now), content, self.ledgers[process])
        self._follow(course)

    @rule(content=_CONTENTS, course=_COURSES)
    def push_an_old_one(self, content: str, course: tuple[BuildStatus, bool] | None) -> None:
        """Push a commit that was a dead letter for an hour, and is forced."""
        push = self._make_push(self.now - timedelta(hours=1))
        self._settle(push, content, self.ledgers[0])
        self._follow(course)

    @rule(content=_CONTENTS, process=st.integers(0, 1))
    def push_twice(self, content: str, process: int) -> None:
        """Push a commit whose process dies after the start: it is delivered again."""
        push = self._make_push(self.now)
        self._settle(push, content, self.ledgers[process])
        if self.model.runs and self.model.runs[-1].push == push:
            assert self._why(push, content, self.ledgers[1 - process]) is None
            self._record(self.model.runs[-1], self.ledgers[1 - process])

    @rule(content=_CONTENTS, process=st.integers(0, 1), course=_COURSES)
    def request(self, content: str, process: int, course: tuple[BuildStatus, bool] | None) -> None:
        """Ask for a build beside the order, whatever has passed."""
        push = replace(self._make_push(self.now), terms=RequestTerms("build", again=True))
        assert self._why(push, content, self.ledgers[process]) is None
        self._start(push, content, self.ledgers[process], in_order=False)
        self._follow(course)

    @precondition(lambda self: any(each.status is None for each in self.model.runs))
    @rule(status=_ENDS, which=st.integers(0, 50), told=st.booleans())
    def end(self, status: BuildStatus, which: int, told: bool) -> None:  # noqa: FBT001 - drawn
        """A build ends; that may be told at once, or late."""
        running = [each for each in self.model.runs if each.status is None]
        run = running[which % len(running)]
        run.status, run.ended_at = status, self.now
        if told:
            self._tell(run)

    @precondition(lambda self: any(each.status for each in self.model.runs))
    @rule(which=st.integers(0, 50), process=st.integers(0, 1))
    def tell(self, which: int, process: int) -> None:
        """An end is told late, or once more."""
        ended = [each for each in self.model.runs if each.status]
        self._tell(ended[which % len(ended)], process)

    @rule()
    def sweep(self) -> None:
        """A round finds all ends that no event told."""
        for run in self.model.runs:
            if run.status and not run.told:
                self._tell(run)

    @rule(seldom=_SELDOM)
    def wait(self, seldom: bool) -> None:  # noqa: FBT001 - drawn
        """Let time pass, seldom so much that no build can still run."""
        self.now += RUNS_FOR if seldom else timedelta(minutes=10)

    @rule(seldom=_SELDOM, torn=st.booleans())
    def lose_record(self, seldom: bool, torn: bool) -> None:  # noqa: FBT001 - drawn
        """The record expires, or is damaged."""
        if not seldom:
            return
        for key in list(self.records.kept):
            if torn:
                self.records.kept[key] = self.records.kept[key][:-9]
            else:
                del self.records.kept[key]
        for run in self.model.runs:
            run.recorded = run.told = False
        self.model.lost |= {each.form for each in self.model.runs}

    @rule(
        seldom=_SELDOM,
        stage=st.sampled_from(["one", "two"]),
        since=st.sampled_from([*ChangesSince][1:]),
    )
    def change_rule(self, seldom: bool, stage: str, since: ChangesSince) -> None:  # noqa: FBT001 - drawn
        """Change a variable of the rule, or what it compares with."""
        if not seldom:
            return
        self.since = since
        self.rule = _rule(since, stage)

    # --- how it is done ---------------------------------------------------------------------------

    def _make_push(self, time: datetime) -> Push:
        self.now += timedelta(seconds=1)
        self.numbers += 1
        commit = f"{self.numbers:040x}"
        return replace(make_push(1), id=f"event-{self.numbers}", commit=commit, time=time)

    @property
    def _target(self) -> Target:
        (target,) = targets_of(make_push(1), self.rule)
        return target

    @property
    def _form(self) -> str:
        return history_name(make_push(1).ref, self.rule, self._target)

    def _known(self, push: Push, content: str, ledger: ContentLedger) -> KnownChanges:
        histories = self._run(ledger.find(push.repository, [self._form]))
        known = KnownChanges(contents={_CHANGES: content}, histories=histories)
        return known if push.joins_order else known.without_skips()

    def _why(self, push: Push, content: str, ledger: ContentLedger) -> LeftOut | None:
        known = self._known(push, content, ledger)
        why = known.why_left_out(push, self.rule, self._target)
        assert why is None or isinstance(why, LeftOut)  # the rule has no markers
        return why

    def _follow(self, course: tuple[BuildStatus, bool] | None) -> None:
        """Let the last build end, if it is to."""
        run = self.model.runs[-1] if self.model.runs else None
        if run is not None and run.status is None and course is not None:
            self.now += timedelta(seconds=1)
            run.status, run.ended_at = course[0], self.now
            if course[1]:
                self._tell(run)

    def _settle(self, push: Push, content: str, ledger: ContentLedger) -> None:
        why = self._why(push, content, ledger)
        if why is None:
            self._check_built(content)
            self._start(push, content, ledger, in_order=True)
        elif self.since is ChangesSince.PASSED:
            self._check_passed(content, why)
        else:
            self._check_started(content, why)

    def _start(self, push: Push, content: str, ledger: ContentLedger, *, in_order: bool) -> None:
        compared = self._known(push, content, ledger).compare(push, self.rule, self._target)
        assert compared is not None
        build = Build(f"web:{self.numbers}", f"arn:{self.numbers}")
        outcome = Outcome(Verdict.BUILT, "", self._target, build=build, compared=compared.content)
        started = started_by(push, outcome, keys=_KEYS, started_at=self.now)
        assert started is not None
        # As the index of starts keeps it until the end.
        read = read_started(_KEYS.started(started.of), started_record(started), keys=_KEYS)
        run = _Run(push, content, self._form, outcome, read, in_order)
        self.model.runs.append(run)
        self._record(run, ledger)

    def _record(self, run: _Run, ledger: ContentLedger) -> None:
        self._run(ledger.record_start(run.push, run.outcome))
        run.recorded = True

    def _tell(self, run: _Run, process: int = 0) -> None:
        assert run.status is not None
        result = BuildResult(run.started.of, run.status, self.now, ended_at=run.ended_at)
        self._run(self.ledgers[process].record_end(run.started, result))
        run.told = True

    # --- what must hold ---------------------------------------------------------------------------

    def _check_passed(self, content: str, why: LeftOut) -> None:
        """A target is left out only if this very content passed, and that is its newest end."""
        mine = self.model.of(self._form, content)
        (proof,) = [each for each in mine if each.push.commit == why.commit]
        assert proof.status is BuildStatus.SUCCEEDED
        assert proof.told
        told = [each for each in mine if each.told and each is not proof]
        failed = [each for each in told if each.status is not BuildStatus.SUCCEEDED]
        assert all(each.ended_at < proof.ended_at for each in failed)
        # Nothing else passed later, and nothing else that may was started after it and still runs.
        others = [each for each in self.model.of(self._form) if each.content != content]
        passed = [each for each in others if each.told and each.status is BuildStatus.SUCCEEDED]
        assert all(each.ended_at <= proof.ended_at for each in passed if not self._is_void(each))
        good = [each for each in mine if each.told and each.status is BuildStatus.SUCCEEDED]
        later = [each for each in others if each.recorded and self._is_after(each, good[-1])]
        again = [each for each in mine if self._since(each) > proof.ended_at and each.recorded]
        fresh = [each for each in (*later, *again) if self.now - self._since(each) < RUNS_FOR]
        assert all(each.told for each in fresh)

    def _is_void(self, run: _Run) -> bool:
        """Return whether the content of a pass failed later: then the pass counts for nothing."""
        same = self.model.of(run.form, run.content)
        return any(
            each.told and each.status is not BuildStatus.SUCCEEDED and each.ended_at >= run.ended_at
            for each in same
        )

    def _is_after(self, run: _Run, other: _Run) -> bool:
        return self.model.runs.index(run) > self.model.runs.index(other)

    def _since(self, run: _Run) -> datetime:
        return run.started.started_at

    def _check_started(self, content: str, why: LeftOut) -> None:
        """A target is left out only if the newest push that started it had this very content."""
        mine = [each for each in self.model.of(self._form) if each.in_order and each.recorded]
        newest = max(mine, key=lambda each: (each.push.time, self.model.runs.index(each)))
        assert (newest.content, newest.push.commit) == (content, why.commit)

    def _check_built(self, content: str) -> None:
        """What is known for sure is left out: or else this test would prove nothing."""
        mine = self.model.of(self._form)
        if self._form in self.model.lost or not mine or not all(each.told for each in mine):
            return
        if self.since is ChangesSince.PASSED and len(mine) <= RUNNING_MOST:
            last = max(mine, key=lambda each: each.ended_at)
            same_time = [each for each in mine if each.ended_at == last.ended_at]
            sure = last is mine[-1] and self.now - self._since(last) < RUNS_FOR
            if sure and len(same_time) == 1 and last.content == content:
                assert last.status is not BuildStatus.SUCCEEDED


TestContents = Contents.TestCase
TestContents.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=_STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
