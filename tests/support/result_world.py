"""A world of results in virtual time: real consumers on a queue, a bucket and services in memory.

Everything between the queue and the bucket is the service's own code. What it calls is modelled
here: SQS's standard queue, S3's records with ETags, BatchGetBuilds, BatchGetBuildBatches,
GetPipelineExecution, PutEvents. Each call may be slow, fail, or be the last one of its process. The
bucket checks each record that is written: it is of a build of ours, true, and never goes back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from random import Random
from typing import Any, cast

import anyio
import anyio.lowlevel
import orjson
from support.codebuild import make_push
from support.result_events import build_event, execution_event, sweep_message
from support.result_world_outcomes import WorldBus, WorldHistories
from support.result_world_servers import RefusedCall, WorldRecords, WorldServices, WorldSqs

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.builds.result_records import read_result, started_by
from asyncbuild.config import QueueSettings, ResultSettings, Settings
from asyncbuild.domain.model import (
    Action,
    Build,
    Execution,
    Outcome,
    Push,
    Target,
    Verdict,
)
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus, StartedId, StartedKind
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.reports.outcomes.event_bus import EventBus
from asyncbuild.reports.outcomes.outcome_ledger import OutcomeLedger
from asyncbuild.reports.outcomes.outcome_sender import OutcomeSender
from asyncbuild.results.build_questions import BuildQuestions
from asyncbuild.results.facts.attempt_facts import GONE_AFTER
from asyncbuild.results.facts.result_messages import BUILD_STATUSES
from asyncbuild.results.finder import ResultFinder
from asyncbuild.results.recorder import ResultRecorder
from asyncbuild.results.result_consumers import ResultConsumers, Turn
from asyncbuild.results.result_queue import ResultQueue
from asyncbuild.results.result_worker import ResultWorker
from asyncbuild.results.superseding.cancel_worker import CancelWorker
from asyncbuild.results.superseding.superseded_ends import SupersededEnds
from asyncbuild.results.sweeper import Sweeper

BEGIN = datetime(2026, 11, 1, 10, 0, tzinfo=UTC).timestamp()
PREFIX = "l/"
URL = "http://model/results"
_SETTINGS = Settings(results=ResultSettings(url=URL), queue=QueueSettings(wait_seconds=0))
_ARN = "arn:aws:codebuild:eu-west-1:123456789012:"
_FATES = ["well"] * 5 + ["lost", "lost", "doubled", "late"]


class Killed(BaseException):
    """The process was killed at this call."""


@dataclass(slots=True)
class Attempt:
    """One attempt of a build, as the model of CodeBuild has it; times in epoch seconds."""

    id: str
    begin: float
    end: float
    status: str
    number: int = 0
    limit: int = 0
    previous: str = ""
    next: str = ""
    next_shows_at: float = 0.0
    batch: str = ""
    gone_at: float = float("inf")

    def document(self, now: float) -> dict[str, Any] | None:
        """Return the build as BatchGetBuilds does; None if it is not known then."""
        if not self.begin <= now < self.gone_at:
            return None
        ended = now >= self.end
        told: dict[str, Any] = {
            "id": self.id,
            "buildStatus": self.status if ended else "IN_PROGRESS",
            "startTime": _time(self.begin),
            **({"endTime": _time(self.end)} if ended else {}),
            **({"buildBatchArn": self.batch} if self.batch else {}),
        }
        if self.limit:
            retry: dict[str, Any] = {"autoRetryLimit": self.limit, "autoRetryNumber": self.number}
            if self.previous:
                retry["previousAutoRetry"] = f"{_ARN}build/{self.previous}"
            if self.next and now >= self.next_shows_at:
                retry["nextAutoRetry"] = f"{_ARN}build/{self.next}"
            told["autoRetryConfig"] = retry
        return told


@dataclass(slots=True)
class Course:
    """Build, batch or execution: its attempts in order, and the entry of the index, if ours.

    `last_told` is the time of the last change of an execution whose event was not lost.
    """

    kind: StartedKind
    attempts: list[Attempt]
    outcome: Outcome | None = None
    push: int = 0
    started: StartedBuild | None = None
    indexed: bool = False
    last_told: float = 0.0

    @property
    def is_ours(self) -> bool:
        """True if the service has started it."""
        return self.started is not None


@dataclass(slots=True)
class StandardMessage:
    """One message of a standard queue."""

    id: str
    body: str
    sent: float
    visible_at: float
    receives: int = 0
    handle: str = ""


@dataclass
class ResultWorld:
    """State of all servers, and the faults that they have now.

    `failing` is the share of calls that fail, `slow` that of calls that take seconds, `kill_after`
    the number of calls until the caller is killed, `lag` how many seconds the services that build
    are behind. While `gate` is closed these do not answer; a change of visibility opens it.
    """

    random: Random
    now: float = BEGIN
    failing: float = 0.0
    slow: float = 0.0
    gate: anyio.Event | None = None
    kill_after: int = -1
    lag: float = 0.0
    courses: list[Course] = field(default_factory=list)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    due: list[tuple[float, str]] = field(default_factory=list)
    messages: list[StandardMessage] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)
    kept: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    number: int = 0
    pushes: int = 0

    def __post_init__(self) -> None:
        """Make the ledger by which starts are recorded, without faults."""
        self.keys = LedgerKeys(PREFIX)
        self.bus = WorldBus(self)
        self.histories = WorldHistories(self)
        self.starts = ResultLedger(WorldRecords(self, faulty=False), prefix=PREFIX)

    def clock(self) -> datetime:
        """Return the time."""
        return _time(self.now)

    def next_number(self) -> int:
        """Return a number that was not used before."""
        self.number += 1
        return self.number

    async def call(self, *, before: bool) -> None:
        """Let others run, and time go by; then fail, or kill the caller, if that is due.

        Args:
            before: Whether the server has not acted yet: only then it can refuse.
        """
        for _ in range(self.random.choice([0, 0, 1, 2, 20])):
            await anyio.lowlevel.checkpoint()
        if self.random.random() < self.slow:
            self.advance(self.random.choice([1, 7]))
        if self.kill_after >= 0:
            self.kill_after -= 1
            if self.kill_after < 0:
                raise Killed
        if before and self.random.random() < self.failing:
            raise RefusedCall

    # --- what happens -----------------------------------------------------------------------------

    def add(self, course: Course) -> Course:
        """Add what was started, to be found by its id."""
        self.courses.append(course)
        for each in course.attempts:
            self.attempts[each.id] = each
        return course

    def own(self, course: Course) -> Course:
        """Make a course one of the service's, whose index is written later."""
        self.pushes += 1
        first, course.push = course.attempts[0], self.pushes
        name, _, number = first.id.partition(":")
        if course.kind is StartedKind.EXECUTION:
            target = Target(Action.PIPELINE, "k", pipeline=name, rule="r")
            execution = Execution(number, name)
            course.outcome = Outcome(Verdict.HANDED_OVER, "", target, execution=execution)
        else:
            target = Target(Action.BUILD, "k", name, rule="r")
            course.outcome = Outcome(Verdict.BUILT, "", target, build=Build(first.id))
        push = push_of(course)
        started = started_by(push, course.outcome, keys=self.keys, started_at=self.clock())
        assert started is not None
        course.started = started
        return course

    async def index(self, course: Course) -> None:
        """Write the index of a start, as a dispatch does, or its repetition."""
        assert course.outcome is not None
        await self.starts.record_start(push_of(course), course.outcome)
        course.indexed = True

    def tell(self, body: str, at: float) -> bool:
        """Send an event at its time, or lose, double or delay it; return whether it arrives.

        Args:
            body: The event.
            at: Its time.
        """
        fate = self.random.choice(_FATES)
        delay = self.random.choice([1, 30, 400, 1_500]) if fate == "late" else 0
        times = {"lost": 0, "doubled": 2}.get(fate, 1)
        for n in range(times):
            self.due.append((at + delay + n * self.random.choice([0, 40]), body))
        return times > 0

    def advance(self, seconds: float) -> None:
        """Let time go by, and send the events that are due."""
        self.now += seconds
        arrived = [each for each in self.due if each[0] <= self.now]
        self.due = [each for each in self.due if each[0] > self.now]
        for at, body in sorted(arrived, key=lambda each: each[0]):
            self.send(body, at=at)

    def send(self, body: str, *, at: float | None = None) -> None:
        """Put a message into the queue."""
        sent = self.now if at is None else at
        self.messages.append(StandardMessage(f"m{self.next_number()}", body, sent, 0.0))

    def sweep(self) -> None:
        """Send the scheduler's message."""
        self.send(sweep_message(self.clock()))

    # --- what is asked ----------------------------------------------------------------------------

    def result_of(self, course: Course) -> BuildResult | None:
        """Return the result on record."""
        assert course.started is not None
        found = (self.kept.get(key) for key in self.result_keys(course))
        read = [read_result("", each[0]) for each in found if each is not None]
        return read[-1] if read else None

    def result_keys(self, course: Course) -> list[str]:
        """Return the keys that the result of a course may have."""
        return [] if course.started is None else [self.keys.result(course.started.record)]

    def iter_marks(self) -> Iterator[StartedId]:
        """Yield the builds that are marked as unfinished."""
        for key in self.kept:
            if (of := self.keys.read_unfinished(key)) is not None:
                yield of

    def check_write(self, key: str, body: bytes) -> None:
        """Fail if a result is not ours, not true, or older than what it replaces."""
        if self.histories.check_write(key, body):
            return
        seen = read_result(key, body)
        owners = [each for each in self.courses if key in self.result_keys(each)]
        assert len(owners) == 1, f"a record of no build of ours: {key}"
        (course,) = owners
        assert course.started is not None
        assert seen.of == course.started.of
        self._check_true(course, seen)
        if key in self.kept:
            known = read_result(key, self.kept[key][0])
            assert seen.attempt >= known.attempt, "an attempt went back"
            if seen.attempt == known.attempt and known.status.is_end:
                assert seen.status.is_end, "an end became a beginning"
                again = course.kind is StartedKind.EXECUTION
                assert again or seen.status is known.status, "an end became another end"

    def _check_true(self, course: Course, seen: BuildResult) -> None:
        if "does not know it" in seen.reason:
            assert self.now - course.attempts[0].begin >= GONE_AFTER.total_seconds()
            return
        if course.kind is StartedKind.EXECUTION:
            told = {_status_of(each, each.end) for each in course.attempts if each.end <= self.now}
            assert not seen.status.is_end or seen.status in told
            return
        attempt = self.attempts[seen.attempt_id]
        assert attempt in course.attempts
        assert seen.attempt == attempt.number + 1
        if seen.status.is_end:
            assert attempt.end <= self.now, "an end before the end"
            assert seen.status is BUILD_STATUSES[attempt.status]

    def process(self) -> "WorldProcess":
        """Return a new process that consumes the queue of results."""
        return WorldProcess(self)


class WorldProcess:
    """The service's own code, between the servers of a world."""

    def __init__(
        self,
        world: ResultWorld,
        services: WorldServices | None = None,
        superseded: SupersededEnds | None = None,
        cancels: CancelWorker | None = None,
    ) -> None:
        records, clock = WorldRecords(world), world.clock
        ledger = ResultLedger(records, prefix=PREFIX)
        service = cast("Any", services or WorldServices(world))
        self.questions = questions = BuildQuestions(service, service, clock=clock)
        outcomes = OutcomeSender(
            OutcomeLedger(records, prefix=PREFIX),
            EventBus(cast("Any", world.bus), "default"),
            with_reasons=False,
            monotonic=lambda: world.now,
            clock=clock,
        )
        # The world of superseded builds delivers untimed pushes at two times: other details.
        told = outcomes if superseded is None else None
        self.recorder = recorder = ResultRecorder(
            ledger, outcomes=told, superseded=superseded, clock=clock
        )
        finder = ResultFinder(ledger, questions)
        sqs = cast("Any", WorldSqs(world))
        self.consumers = ResultConsumers(
            queue=ResultQueue(polls=sqs, control=sqs, url=URL),
            worker=ResultWorker(finder, recorder, clock=clock),
            sweeper=Sweeper(
                ledger=ledger,
                questions=questions,
                finder=finder,
                recorder=recorder,
                outcomes=told,
                superseded=cancels,
                clock=clock,
            ),
            settings=_SETTINGS,
            clock=clock,
        )

    async def turn(self) -> Turn | None:
        """Let it receive and work once; None if it was killed meanwhile."""
        try:
            return await self.consumers.take_turn()
        except Killed:
            return None


def push_of(course: Course) -> Push:
    """Return the push of a course: two of one second follow each other, and ids have no order."""
    push = make_push(course.push)
    id_ = sha256(push.id.encode()).hexdigest()
    return replace(push, id=id_, time=_time(BEGIN + course.push // 2))


def event_of(course: Course, attempt: Attempt, *, ended: bool) -> str:
    """Return the event of the begin or the end of an attempt."""
    if course.kind is StartedKind.EXECUTION:
        name, _, number = attempt.id.partition(":")
        return _dump(execution_event(name, number, attempt.status if ended else "STARTED"))
    return _dump(build_event(attempt.id, attempt.status if ended else "IN_PROGRESS"))


def _dump(event: dict[str, Any]) -> str:
    return orjson.dumps(event).decode()


def _status_of(attempt: Attempt, now: float) -> BuildStatus:
    return BUILD_STATUSES[attempt.status] if now >= attempt.end else BuildStatus.IN_PROGRESS


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
