"""A world of pushes whose older builds are stopped, in virtual time: real code from lane to ledger.

To the world of results (`support.result_world`) it adds one lane of pushes, which the service's own
`Dispatcher` settles, a forge whose refs move forward, back and sideways, StopBuild and
StopPipelineExecution, and persons who stop and restart things by hand. It checks each stop: a newer
build of the same ref and project was started, the intention is on record, and nothing else is
touched.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import anyio
from support.result_world import (
    PREFIX,
    Attempt,
    Course,
    Killed,
    ResultWorld,
    WorldProcess,
    event_of,
)
from support.result_world_servers import (
    RefusedCall,
    WorldRecords,
    WorldServices,
    _refused,
)

from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_records import read_head
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.builds.result_records import started_by
from asyncbuild.builds.superseding.running_ledger import RunningLedger
from asyncbuild.builds.superseding.running_records import read_running
from asyncbuild.config import Settings
from asyncbuild.domain.errors import Outage, StageError
from asyncbuild.domain.model import (
    Action,
    Build,
    Change,
    Execution,
    Message,
    Outcome,
    Push,
    StoredArchive,
    Target,
    Verdict,
)
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import StartedId, StartedKind
from asyncbuild.domain.results.running_build import RunningBuild
from asyncbuild.domain.tally import Tally
from asyncbuild.pushes.changed_content import ChangeFinder
from asyncbuild.pushes.dispatch import Dispatcher
from asyncbuild.pushes.newer_starts import NewerStarts
from asyncbuild.pushes.recorded_starts import RecordedStarts
from asyncbuild.pushes.staleness import Staleness
from asyncbuild.pushes.start_target import PushCase
from asyncbuild.pushes.work import Dispatch, PreparedMessage, PreparedPush, Work
from asyncbuild.results.build_questions import BuildQuestions
from asyncbuild.results.finder import ResultFinder
from asyncbuild.results.superseding.build_stops import BuildStops
from asyncbuild.results.superseding.cancel_worker import CancelWorker
from asyncbuild.results.superseding.canceller import Canceller
from asyncbuild.results.superseding.superseded_ends import SupersededEnds

SHOP = Repository.of_codecommit("123456789012", "eu-west-1", "shop")
_SETTINGS = Settings()
_ARCHIVE = StoredArchive("archives", "k", 1, '"e"')


class Violation(BaseException):
    """The service has done what it must never do. No code of its own may catch this."""


def _require(holds: object, what: str) -> None:
    if not holds:
        raise Violation(what)


@dataclass(slots=True)
class Waiting:
    """A push in the lane: its place in the true order of its ref, and the plan of its builds."""

    push: Push
    number: int
    targets: tuple[Target, ...]
    ends: list[str]
    seconds: float
    limit: int
    tries: int = 0


@dataclass(slots=True)
class CancelCourse(Course):
    """A build or execution with the truth about who has stopped it.

    `order` is the place of its push in the true order of its ref, `stopped` are the ids of attempts
    that the service has stopped, `intended_at` is when that was first intended; `refused_by_hand`
    is True if a person has stopped it while the service might not.
    """

    order: int = 0
    commit: str = ""
    event_id: str = ""
    stopped: list[str] = field(default_factory=list)
    intended_at: float = float("inf")
    records: list[str] = field(default_factory=list)
    refused: bool = False
    refused_by_hand: bool = False

    @property
    def group(self) -> tuple[str, StartedKind, str]:
        """Ref, kind and name: what a newer push of the ref starts again."""
        assert self.started is not None
        return self.started.ref, self.kind, self.started.of.name

    @property
    def indexed_supersedable(self) -> bool:
        """True if the service has started it, and a newer push may stop it."""
        return self.started is not None and self.started.is_supersedable

    def running(self, now: float) -> Attempt | None:
        """Return the attempt that runs now, if any."""
        return next((each for each in self.attempts if each.begin <= now < each.end), None)


@dataclass
class CancelWorld(ResultWorld):
    """State of all servers, of the forge, and of the lane."""

    timed: bool = True
    tips: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    pushed: dict[str, int] = field(default_factory=dict)
    lane: list[Waiting] = field(default_factory=list)
    dead: list[Waiting] = field(default_factory=list)
    heads: dict[str, list[str]] = field(default_factory=dict)
    certain: set[tuple[str, str]] = field(default_factory=set)
    settled: set[tuple[str, str]] = field(default_factory=set)
    tried: set[tuple[str, str]] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)

    # --- the forge --------------------------------------------------------------------------------

    def push(self, ref: str, way: str) -> Push:
        """Move a ref to a new commit, sideways to one without its tip, or back; return the push."""
        old = self.tips.get(ref)
        if way == "back" and old and self.parents.get(old):
            commit = self.parents[old]
        else:
            commit = f"{self.next_number():040x}"
            self.parents[commit] = (self.parents.get(old or "", "") if way == "side" else old) or ""
        self.tips[ref] = commit
        self.pushed[ref] = self.pushed.get(ref, 0) + 1
        return Push(
            id=f"e{self.next_number()}",
            repository=SHOP,
            ref=ref,
            commit=commit,
            change=Change.UPDATED if old else Change.CREATED,
            time=self.second(),
            old_commit=old,
            timed=self.timed,
        )

    def second(self) -> datetime:
        """Return the time in whole seconds, as events have it."""
        return datetime.fromtimestamp(int(self.now), UTC)

    def contains(self, descendant: str, commit: str) -> bool:
        """Return whether a commit is another one or an ancestor of it."""
        while descendant:
            if descendant == commit:
                return True
            descendant = self.parents.get(descendant, "")
        return False

    # --- what is started and stopped --------------------------------------------------------------

    def start(self, waiting: Waiting, target: Target, commit: str) -> CancelCourse:
        """Start a build or execution, or return the one that the push has started."""
        name = target.pipeline or target.project or ""
        for each in self.own_courses():
            if each.event_id == waiting.push.id and each.group[2] == name:
                self._started(each, waiting.push)
                return each
        kind = StartedKind.EXECUTION if target.pipeline else StartedKind.BUILD
        ends, limit = waiting.ends, waiting.limit
        if kind is StartedKind.EXECUTION:
            ends, limit = ["SUCCEEDED" if ends[-1] == "SUCCEEDED" else "FAILED"], 0
        course = CancelCourse(kind, self.plan(name, ends, waiting.seconds, limit))
        number = course.attempts[0].id.partition(":")[2]
        push = waiting.push
        course.order, course.commit, course.event_id = waiting.number, commit, push.id
        if kind is StartedKind.EXECUTION:
            outcome = Outcome(
                Verdict.HANDED_OVER, "", target, _ARCHIVE, execution=Execution(number, name)
            )
        else:
            outcome = Outcome(
                Verdict.BUILT, "", target, _ARCHIVE, Build(course.attempts[0].id), commit=commit
            )
        course.outcome = replace(outcome, commit=commit)
        self._started(course, push)
        self.add(course)
        self.tell_ends(course)
        return course

    def _started(self, course: CancelCourse, push: Push) -> None:
        """Note the record of a push, whose time may differ between deliveries."""
        assert course.outcome is not None
        course.started = started_by(push, course.outcome, keys=self.keys, started_at=self.clock())
        assert course.started is not None
        course.records.append(self.keys.result(course.started.record))

    def result_keys(self, course: Course) -> list[str]:
        """Return the keys of all deliveries of its push."""
        return course.records if isinstance(course, CancelCourse) else []

    def plan(self, name: str, ends: Sequence[str], seconds: float, limit: int) -> list[Attempt]:
        """Return attempts: all but the last one fail, and CodeBuild tries again."""
        begin, attempts = self.now, list[Attempt]()
        for number, status in enumerate([*["FAILED"] * min(len(ends) - 1, limit), ends[-1]]):
            id_ = f"{name}:u{self.next_number()}"
            made = Attempt(id_, begin, begin + seconds, status, number=number, limit=limit)
            if attempts:
                made.previous, attempts[-1].next = attempts[-1].id, id_
                attempts[-1].next_shows_at = made.begin
            attempts.append(made)
            begin = made.end + self.random.choice([0, 5, 60])
        return attempts

    def tell_ends(self, course: Course) -> None:
        """Send the events of all ends that are planned."""
        for each in course.attempts:
            if self.tell(event_of(course, each, ended=True), each.end):
                course.last_told = each.end

    def own_courses(self) -> list[CancelCourse]:
        """Return what the service has started."""
        mine = [each for each in self.courses if isinstance(each, CancelCourse)]
        return [each for each in mine if each.is_ours]

    def end(self, course: Course, attempt: Attempt) -> None:
        """Stop an attempt: nothing follows it."""
        attempt.end, attempt.status, attempt.next = self.now, "STOPPED", ""
        for each in course.attempts[course.attempts.index(attempt) + 1 :]:
            self.attempts.pop(each.id, None)
        del course.attempts[course.attempts.index(attempt) + 1 :]
        if self.tell(event_of(course, attempt, ended=True), self.now):
            course.last_told = self.now

    def stop(self, course: Course, attempt: Attempt) -> None:
        """Stop an attempt for the service, and check that it may be."""
        _require(isinstance(course, CancelCourse) and course.is_ours, "a foreign build was stopped")
        course = cast("CancelCourse", course)
        _require(course.indexed_supersedable, "its rule does not want that, or it is of a tag")
        tip = self.tips[course.group[0]]
        newer = [
            each
            for each in self.own_courses()
            if each.group == course.group
            and each is not course
            # A push that is late has started the commit to which a newer one went back.
            and (each.order > course.order or each.commit in {course.commit, tip})
        ]
        _require(newer, f"nothing newer of the ref was started than {course} at {tip}")
        entry = self.entry(course)
        intended = entry is not None and entry.superseded_by is not None
        _require(intended, "it was stopped before that was intended")
        if self.now < attempt.end:
            course.stopped.append(attempt.id)
            self.end(course, attempt)

    def entry(self, course: CancelCourse) -> RunningBuild | None:
        """Return the entry of a running build."""
        assert course.started is not None
        started = course.started
        of, rule = started.of, started.rule
        key = self.keys.running(started.repository, started.ref, of, rule=rule)
        found = self.kept.get(key)
        return None if found is None else read_running(key, found[0], keys=self.keys)

    def course_of(self, of: StartedId) -> CancelCourse:
        """Return what has this identity."""
        return next(each for each in self.own_courses() if each.started and each.started.of == of)

    # --- what is written --------------------------------------------------------------------------

    def check_write(self, key: str, body: bytes) -> None:
        """Follow the heads and the intentions; check results as the world of results does."""
        try:
            if key.startswith((f"{PREFIX}result/", f"{PREFIX}outcome/")):
                super().check_write(key, body)
        except AssertionError as error:
            raise Violation(str(error)) from error
        if key.startswith(self.keys.all_running):
            build = read_running(key, body, keys=self.keys)
            course = self.course_of(build.of)
            if build.superseded_by is not None:
                course.intended_at = min(course.intended_at, self.now)
            course.refused = build.is_refused
        for ref in self.tips:
            if key == self.keys.head_of(SHOP, ref):
                self.heads.setdefault(ref, []).append(read_head(key, body).event_id)

    def cancel_process(self) -> "CancelProcess":
        """Return a new process that settles pushes and results."""
        return CancelProcess(self)


class CancelServices(WorldServices):
    """CodeBuild and CodePipeline, which also stop what they run."""

    def __init__(self, world: CancelWorld) -> None:
        super().__init__(world)
        self._of = world

    async def _stop(self, operation: str, name: str) -> None:
        try:
            await self._of.call(before=True)
        except RefusedCall:
            code = self._of.random.choice(["ThrottlingException", "InternalError"])
            raise _refused(code, operation) from None
        if name in self._of.denied:
            raise _refused("AccessDeniedException", operation)

    async def stop_build(self, *, id: str) -> Any:  # noqa: A002, ANN401 - botocore's name and shapes
        """Answer StopBuild; the answer may be lost."""
        world = self._of
        await self._stop("StopBuild", id.partition(":")[0])
        attempt = world.attempts[id]
        assert attempt.begin <= world.now
        course = next(each for each in world.courses if attempt in each.attempts)
        world.stop(course, attempt)
        document = attempt.document(world.now)
        await world.call(before=False)
        return {"build": document}

    async def stop_pipeline_execution(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer StopPipelineExecution; the execution is in no action, and is stopped at once."""
        world, operation = self._of, "StopPipelineExecution"
        await self._stop(operation, call["pipelineName"])
        assert call["abandon"] is False
        assert len(call["reason"]) <= 200
        id_ = f"{call['pipelineName']}:{call['pipelineExecutionId']}"
        found = next(each for each in world.courses if each.attempts[0].id == id_)
        course = cast("CancelCourse", found)
        entry = world.entry(course)
        told = entry is not None and entry.is_told
        _require(not told, "stopped again, after a person restarted it")
        attempt = course.running(world.now)
        if attempt is None:
            raise _refused("PipelineExecutionNotStoppableException", operation)
        world.stop(course, attempt)
        await world.call(before=False)
        return {"pipelineExecutionId": call["pipelineExecutionId"]}

    async def list_action_executions(self, **call: Any) -> Any:  # noqa: ANN401 - as above
        """Answer ListActionExecutions with one action for each time that the stage was run."""
        await self._call("ListActionExecutions")
        id_ = f"{call['pipelineName']}:{call['filter']['pipelineExecutionId']}"
        course = next(each for each in self._of.courses if each.attempts[0].id == id_)
        now = self._of.now - self._of.lag
        told = [
            {
                "stageName": "Deploy",
                "actionName": "Deploy",
                "status": "Failed" if each.status == "FAILED" else "Succeeded",
                "startTime": datetime.fromtimestamp(each.begin, UTC),
                "lastUpdateTime": datetime.fromtimestamp(each.end, UTC),
            }
            for each in course.attempts
            if each.end <= now
        ]
        return {"actionExecutionDetails": told[::-1]}


class WorldHistory:
    """Questions about a push to the forge of the world, as `pushes.ancestry.History` answers."""

    def __init__(self, world: CancelWorld) -> None:
        self._world = world

    async def _call(self) -> None:
        try:
            await self._world.call(before=True)
        except RefusedCall:
            raise Outage("git") from None

    async def is_contained(self, _: Work, push: Push, descendant: str) -> bool:
        """Return whether a push's commit is contained in another."""
        await self._call()
        return self._world.contains(descendant, push.commit)

    async def goes_back(self, _: Work, push: Push, built: str) -> bool:
        """Return whether a push is newer although its commit is contained in `built`."""
        if push.old_commit and self._world.contains(push.old_commit, built):
            return True
        return await self.is_at_tip(push)

    async def is_at_tip(self, push: Push) -> bool:
        """Return whether the ref is at the push's commit now."""
        await self._call()
        return self._world.tips[push.ref] == push.commit


class WorldStarter:
    """StartBuild and StartPipelineExecution for the targets of one message."""

    def __init__(self, world: CancelWorld, waiting: Waiting) -> None:
        self._world = world
        self._waiting = waiting

    async def start(self, target: Target, case: PushCase) -> Outcome:
        """Start a target; the answer may be lost."""
        if case.stale:
            return Outcome(Verdict.STALE, case.stale, target)
        try:
            await self._world.call(before=True)
            course = self._world.start(self._waiting, target, case.push.commit)
            await self._world.call(before=False)
        except RefusedCall:
            raise Outage("codebuild") from None
        assert course.outcome is not None
        return course.outcome


class CancelProcess:
    """The service's own code, between the servers of a world."""

    def __init__(self, world: CancelWorld) -> None:
        self._world = world
        self._records = records = WorldRecords(world)
        self._history = WorldHistory(world)
        services = CancelServices(world)
        running = RunningLedger(records, prefix=PREFIX)
        results = ResultLedger(records, prefix=PREFIX)
        service = cast("Any", services)
        questions = BuildQuestions(service, service, clock=world.clock)
        canceller = Canceller(
            running,
            ResultFinder(results, questions),
            BuildStops(service, service, clock=world.clock),
            monotonic=lambda: world.now,
            clock=world.clock,
        )
        self._worker = CancelWorker(running, canceller)
        self._results = results
        ends = SupersededEnds(running, canceller, self._worker.notice_group)
        self.consumer = WorldProcess(world, services, ends, self._worker)

    async def dispatch(self, waiting: Waiting, *, noticed: bool) -> bool:
        """Settle a push; return whether that succeeded, and the process lived.

        Args:
            waiting: The push.
            noticed: Whether the process lives long enough to stop older builds.
        """
        done = False
        try:
            async with anyio.create_task_group() as tasks:
                if noticed:
                    tasks.start_soon(self._worker.run)
                    await anyio.wait_all_tasks_blocked()
                with suppress(StageError):
                    await self._dispatch(waiting)
                    done = True
                self._worker.drain()
        except* Killed:
            done = False
        return done

    async def _dispatch(self, waiting: Waiting) -> None:
        world, push = self._world, waiting.push
        ledger = Ledger(cast("Any", self._records), prefix=PREFIX)
        history = cast("Any", self._history)
        contents = ContentLedger(cast("Any", self._records), prefix=PREFIX, clock=world.clock)
        dispatcher = Dispatcher(
            ledger=ledger,
            pushes=cast("Any", None),  # nothing is prepared here
            changes=ChangeFinder(cast("Any", None), ledger, contents, _SETTINGS),
            staleness=Staleness(ledger, history, skip_stale=True),
            targets=cast("Any", WorldStarter(world, waiting)),
            starts=RecordedStarts(contents, self._results),
            newer=NewerStarts(self._worker, history),
        )
        message = Message(f"m-{push.id}", "", "", "shop", waiting.number)
        prepared = PreparedPush(push, targets=waiting.targets)
        order = Dispatch(
            PreparedMessage(Work(message, push), (prepared,)), tried_seconds_ago=waiting.tries
        )
        tally = Tally(max_attempts=5, pause_seconds=1)
        await dispatcher.dispatch(order, guard=lambda: None, tally=tally)


def make_targets(names: Sequence[str], *, cancels: bool) -> tuple[Target, ...]:
    """Return targets that build project `web` and run pipeline `deploy`, or one of them."""
    made = {
        "web": Target(Action.BUILD, "k", "web", rule="r", cancel_superseded=cancels),
        "deploy": Target(
            Action.PIPELINE, "k", pipeline="deploy", rule="r", cancel_superseded=cancels
        ),
    }
    return tuple(made[name] for name in names)
