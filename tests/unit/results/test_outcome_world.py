"""Outcome events in virtual time: pushes, ends in any order, doubled and lost, faults and kills.

`ASYNCBUILD_WORLD_EXAMPLES` sets how many worlds are tried; `make chaos` asks for 5,000.
"""

import asyncio
import os
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support.listening import hearing
from support.result_world import Attempt, Course, Killed, ResultWorld, WorldProcess

from asyncbuild.domain.errors import StageError
from asyncbuild.domain.results.build_result import StartedKind
from asyncbuild.results.result_consumers import Turn
from asyncbuild.runtime import log as logs

_EXAMPLES = int(os.environ.get("ASYNCBUILD_WORLD_EXAMPLES", "60"))
_END = st.sampled_from(["SUCCEEDED", "FAILED", "FAILED", "FAULT", "TIMED_OUT", "STOPPED"])
_FAILING = st.sampled_from([0, 0, 0.2, 0.6])
_KILLS = st.sampled_from([-1, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
_CALLS_MOST = 40  # of one end


class Outcomes(RuleBasedStateMachine):
    """The bucket checks each history, the end that no change is missing, doubled or made up."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        """Start two processes."""
        logs.mute()
        self.runner = asyncio.Runner()
        self.world = ResultWorld(Random(seed))  # noqa: S311 - the same in every run
        self.processes = [self.world.process() for _ in range(2)]

    @rule(status=_END, seconds=st.sampled_from([1, 50, 700]))
    def push(self, status: str, seconds: float) -> None:
        """Push, and start its build."""
        world = self.world
        id_ = f"web:u{world.next_number()}"
        attempt = Attempt(id_, world.now, world.now + seconds, status)
        self.runner.run(world.index(world.own(world.add(Course(StartedKind.BUILD, [attempt])))))

    @rule(seconds=st.sampled_from([1, 60, 700, 4_000]))
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.world.advance(seconds)

    @precondition(lambda self: self.world.courses)
    @rule(number=st.integers(0, 1_000), process=st.integers(0, 1), failing=_FAILING, killed=_KILLS)
    def tell(self, number: int, process: int, failing: float, killed: int) -> None:
        """Tell the state of any build, as an event does: in any order, and more than once."""
        course = self.world.courses[number % len(self.world.courses)]
        self._meddle(failing, killed)
        try:
            self.runner.run(_record(self.processes[process], course))
        except StageError:
            pass  # its message comes again, or the round finds it
        except Killed:
            self.processes[process] = self.world.process()
        self._meddle(0, -1)

    @rule(process=st.integers(0, 1), failing=_FAILING, killed=_KILLS)
    def sweep(self, process: int, failing: float, killed: int) -> None:
        """Make a round."""
        self.world.sweep()
        self._meddle(failing, killed)
        if self.runner.run(self.processes[process].turn()) is None:
            self.processes[process] = self.world.process()
        self._meddle(0, -1)

    def _meddle(self, failing: float, killed: int) -> None:
        self.world.failing, self.world.kill_after = failing, killed

    def teardown(self) -> None:
        """Let all end, and make two rounds: one for the ends, one for events that wait."""
        if hasattr(self, "world"):
            try:
                self.world.advance(20_000)
                for _ in range(2):
                    self.world.sweep()
                    self.runner.run(_settle(self.world, self.processes[0]))
                self.world.histories.check()
            finally:
                self.runner.close()


TestOutcomes = Outcomes.TestCase
TestOutcomes.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("refused", [0, 1])
@pytest.mark.parametrize("newer", [False, True])
def test_a_kill_at_any_call_loses_no_change(refused: float, newer: bool) -> None:  # noqa: FBT001 - pytest gives it
    """Also while EventBridge takes nothing: the next round sends what is lacking, once.

    The end of a newer push may come between: what was decided before the kill stays so.
    """

    async def run(kill_after: int) -> bool:
        world = _world()
        courses = [await _ended(world, status) for status in ("SUCCEEDED", "FAILED", "SUCCEEDED")]
        first, second, third = courses
        assert third.started is not None
        await _record(world.process(), first)
        process = world.process()
        world.bus.refused = refused
        world.kill_after = kill_after
        killed = False
        try:
            await _record(process, second)
        except Killed:
            killed = True
        world.bus.refused, world.kill_after = 0, -1
        if newer:
            await _record(world.process(), third)
        else:
            world.courses.remove(third)
            await world.starts.finish(third.started.of)
        world.sweep()
        await _settle(world, world.process())
        world.histories.check()
        if not newer:
            told = sorted(each["detail-type"] for each in world.bus.taken.values())
            assert told == ["BuildBroke", "BuildFailed", "BuildPassed"], kill_after
        return killed

    killed = [asyncio.run(run(number)) for number in range(_CALLS_MOST)]
    assert killed[0]
    assert not killed[-1], "an end has more calls than were tried"


def test_what_eventbridge_takes_in_part_is_sent_again() -> None:
    """Of two events one is refused: both are taken in the end, and nothing waits any more."""

    async def run() -> None:
        world = _world()
        for status in ("SUCCEEDED", "FAILED"):
            course = await _ended(world, status)
            world.bus.refusals = 1
            await _record(world.process(), course)
        assert len(world.bus.taken) == 1  # BuildBroke, the second of two
        world.sweep()
        await _settle(world, world.process())
        world.histories.check()
        assert len(world.bus.taken) == 3

    asyncio.run(run())


def test_when_eventbridge_is_back_no_round_is_waited_for() -> None:
    """The next end sends what waited, oldest first."""

    async def run() -> None:
        world = _world()
        process = world.process()
        first, second = [await _ended(world, status) for status in ("FAILED", "SUCCEEDED")]
        world.bus.refused, world.bus.codes = 1, ["ThrottlingException"]
        await _record(process, first)
        assert not world.bus.taken
        world.bus.refused = 0
        await _record(process, second)
        world.histories.check()
        told = [each["detail-type"] for each in world.bus.taken.values()]
        assert told == ["BuildPassed", "BuildFixed", "BuildFailed"]

    asyncio.run(run())


def test_a_damaged_history_is_replaced() -> None:
    """The next end has none before it, and the one after that is compared again."""

    async def run() -> None:
        world = _world()
        courses = [await _ended(world, status) for status in ("SUCCEEDED", "FAILED", "SUCCEEDED")]
        await _record(world.process(), courses[0])
        (key,) = world.histories.accepted
        world.kept[key] = (b"{", world.now)
        world.histories.accepted.clear()
        for course in courses[1:]:
            await _record(world.process(), course)
        told = [each["detail-type"] for each in world.bus.taken.values()]
        assert told == ["BuildPassed", "BuildFailed", "BuildPassed", "BuildFixed"]

    asyncio.run(run())


def test_a_missing_right_is_told_once_and_tried_again_after_an_hour() -> None:
    """Ends are recorded meanwhile, and no request is made; then all that waited is sent."""

    async def run() -> list[str]:
        world = _world()
        process = world.process()
        courses = [await _ended(world, status) for status in ("FAILED", "SUCCEEDED", "FAILED")]
        world.bus.refused, world.bus.codes = 1, ["AccessDeniedException"]
        for course in courses:
            await _record(process, course)
            assert world.result_of(course) is not None
        assert list(world.iter_marks()) == []
        world.bus.refused = 0
        world.sweep()
        await _settle(world, process)
        assert not world.bus.taken
        world.advance(3_600)
        world.sweep()
        await _settle(world, process)
        world.histories.check()
        return [each["detail-type"] for each in world.bus.taken.values()]

    with hearing() as lines:
        told = asyncio.run(run())
    failed = "BuildFailed"
    assert told == [failed, "BuildPassed", "BuildFixed", failed, "BuildBroke"]
    off = [each for each in lines if each["event"] == "outcomes.off"]
    assert [(each["bus"], each["seconds"]) for each in off] == [("default", 3_600.0)]


def test_an_event_that_nothing_takes_is_given_up_after_a_week() -> None:
    """It is told as an error, and waits no more."""

    async def run() -> ResultWorld:
        world = _world()
        course = await _ended(world, "FAILED")
        world.bus.refused, world.bus.codes = 1, ["ThrottlingException"]
        await _record(world.process(), course)
        for _ in range(2):
            world.sweep()
            await _settle(world, world.process())
            world.advance(7 * 86_400)
        return world

    with hearing() as lines:
        world = asyncio.run(run())
    assert not [key for key in world.kept if key.startswith(world.keys.all_unsent)]
    given_up = [each["detail_type"] for each in lines if each["event"] == "outcome.given-up"]
    assert given_up == ["BuildFailed"]


def _world() -> ResultWorld:
    logs.mute()
    return ResultWorld(Random(1))  # noqa: S311 - the same in every run


async def _ended(world: ResultWorld, status: str) -> Course:
    """Return the build of a new push, eleven minutes after its end."""
    id_ = f"web:u{world.next_number()}"
    course = world.own(
        world.add(Course(StartedKind.BUILD, [Attempt(id_, world.now, world.now + 1, status)]))
    )
    await world.index(course)
    world.advance(661)
    return course


async def _record(process: WorldProcess, course: Course) -> None:
    assert course.started is not None
    facts = await process.questions.ask(course.started.of)
    if facts is not None:
        await process.recorder.record(course.started, facts)


async def _settle(world: ResultWorld, process: WorldProcess) -> None:
    for _ in range(40):
        while await process.turn() is not Turn.EMPTY:
            world.advance(1)
        if not world.messages:
            return
        world.advance(61)
    raise AssertionError(world.messages)
