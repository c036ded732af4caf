"""Processes that are killed at each of their calls, one after the other; nothing is lost."""

import asyncio
from collections.abc import Callable
from random import Random

import anyio
import pytest
from support.result_world import Attempt, Course, ResultWorld, event_of
from support.wait import PATIENCE_SECONDS

from asyncbuild.domain.results.build_result import BuildStatus, StartedKind
from asyncbuild.results.facts.attempt_facts import GONE_AFTER
from asyncbuild.results.result_consumers import Turn
from asyncbuild.runtime import log as logs

_CALLS_MOST = 60  # of one turn


def _world() -> ResultWorld:
    logs.mute()
    return ResultWorld(Random(1))  # noqa: S311 - the same in every run


def _attempt(world: ResultWorld, status: str = "FAILED", *, name: str = "web") -> Attempt:
    return Attempt(f"{name}:u{world.next_number()}", world.now, world.now + 30, status)


async def _start(world: ResultWorld, course: Course, *, told: bool) -> Course:
    world.add(course)
    await world.index(world.own(course))
    world.advance(700)
    if told:
        world.send(event_of(course, course.attempts[-1], ended=True))
    else:
        world.sweep()
    return course


async def _told_end(world: ResultWorld) -> Course:
    return await _start(world, Course(StartedKind.BUILD, [_attempt(world)]), told=True)


async def _lost_end(world: ResultWorld) -> Course:
    return await _start(world, Course(StartedKind.BUILD, [_attempt(world)]), told=False)


async def _told_execution(world: ResultWorld) -> Course:
    attempts = [_attempt(world, name="deploy")]
    return await _start(world, Course(StartedKind.EXECUTION, attempts), told=True)


async def _told_retry(world: ResultWorld) -> Course:
    first, second = _attempt(world), _attempt(world, "SUCCEEDED")
    second.previous, first.next = first.id, second.id
    second.number, first.limit, second.limit = 1, 1, 1
    second.begin, second.end = first.end + 5, first.end + 35
    return await _start(world, Course(StartedKind.BUILD, [first, second]), told=True)


async def _lost_retry(world: ResultWorld) -> Course:
    course = await _told_retry(world)
    world.messages.clear()
    world.sweep()
    return course


async def _gone(world: ResultWorld) -> Course:
    course = await _lost_end(world)
    course.attempts[0].gone_at = world.now
    world.advance(GONE_AFTER.total_seconds())
    return course


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (_told_end, BuildStatus.FAILED),
        (_lost_end, BuildStatus.FAILED),
        (_told_execution, BuildStatus.FAILED),
        (_told_retry, BuildStatus.SUCCEEDED),
        (_lost_retry, BuildStatus.SUCCEEDED),
        (_gone, BuildStatus.FAULT),
    ],
)
def test_a_kill_at_any_call_loses_no_end(
    scenario: Callable[..., object], expected: BuildStatus
) -> None:
    """The next process completes what was begun: record, mark, message."""

    async def run(kill_after: int) -> bool:
        world = _world()
        course = await scenario(world)  # type: ignore[misc] # returns an awaitable
        world.kill_after = kill_after
        killed = await world.process().turn() is None
        world.kill_after = -1
        world.advance(61)  # its visibility is over
        process = world.process()
        while await process.turn() is not Turn.EMPTY:
            pass
        found = world.result_of(course)
        assert found is not None, kill_after
        assert found.status is expected, kill_after
        assert list(world.iter_marks()) == [], kill_after
        assert world.messages == [], kill_after
        return killed

    killed = [asyncio.run(run(number)) for number in range(_CALLS_MOST)]
    assert killed[0]
    assert not killed[-1], "the turn has more calls than were tried"


def test_a_failing_call_of_any_kind_loses_no_end() -> None:
    """Half of all calls fail; the messages come again until it is done."""

    async def run(seed: int) -> None:
        world = _world()
        course = await _told_retry(world)
        world.random.seed(seed)
        world.failing = 0.5
        process = world.process()
        for _ in range(100):
            await process.turn()
            world.advance(61)
        world.failing = 0
        world.sweep()
        while await process.turn() is not Turn.EMPTY:
            pass
        found = world.result_of(course)
        assert found is not None
        assert found.status is BuildStatus.SUCCEEDED
        assert world.messages == []
        assert list(world.iter_marks()) == []

    for seed in range(5):
        asyncio.run(run(seed))


def test_of_two_processes_the_slower_one_changes_nothing() -> None:
    """An observation of the running build, written after the end was recorded, is refused."""

    async def run() -> None:
        world = _world()
        running = Course(StartedKind.BUILD, [_attempt(world)])
        world.add(running)
        await world.index(world.own(running))
        started = running.started
        assert started is not None
        slow, quick = world.process(), world.process()
        facts = await slow.questions.ask(started.of)
        assert facts is not None
        assert facts.result.status is BuildStatus.IN_PROGRESS
        world.advance(40)
        world.send(event_of(running, running.attempts[0], ended=True))
        await quick.turn()
        assert await slow.recorder.record(started, facts) is False
        found = world.result_of(running)
        assert found is not None
        assert found.status is BuildStatus.FAILED

    asyncio.run(run())


def test_a_mark_stays_while_codebuild_may_try_again() -> None:
    """The first attempt's end shows before the next attempt does, and no event tells more."""

    async def run() -> None:
        world = _world()
        course = Course(StartedKind.BUILD, [_attempt(world), _attempt(world, "SUCCEEDED")])
        first, second = course.attempts
        first.limit = second.limit = second.number = 1
        first.next, second.previous = second.id, first.id
        second.begin = first.next_shows_at = first.end + 20
        second.end = second.begin + 30
        world.add(course)
        await world.index(world.own(course))
        world.advance(31)
        world.send(event_of(course, first, ended=True))
        process = world.process()
        await process.turn()
        found = world.result_of(course)
        assert found is not None
        assert (found.status, found.attempt) == (BuildStatus.FAILED, 1)
        assert list(world.iter_marks()) != []
        world.advance(700)
        world.sweep()
        await process.turn()
        found = world.result_of(course)
        assert found is not None
        assert (found.status, found.attempt) == (BuildStatus.SUCCEEDED, 2)
        assert list(world.iter_marks()) == []

    asyncio.run(run())


def test_what_another_has_started_is_given_up_after_ten_minutes() -> None:
    """Also one that may not even be looked at."""

    async def run() -> None:
        world = _world()
        theirs = world.add(Course(StartedKind.BUILD, [_attempt(world)]))
        world.advance(40)
        world.send(event_of(theirs, theirs.attempts[0], ended=True))
        process = world.process()
        receives = 0
        while world.messages:
            receives += await process.turn() is not Turn.EMPTY
            world.advance(5)
            assert world.now < world.messages[0].sent + 700 if world.messages else True
        assert receives == 14  # at once, after 5, 10, 20, 40, and then each 60 seconds
        assert world.kept == {}
        assert world.dead_letters == []

    asyncio.run(run())


def test_a_round_keeps_its_message_hidden() -> None:
    """However long the services that build take to answer."""

    async def run() -> None:
        world = _world()
        course = await _lost_end(world)
        world.gate = anyio.Event()
        process = world.process()
        process.consumers.visibility_seconds = 1
        with anyio.fail_after(PATIENCE_SECONDS):
            await process.turn()  # the gate opens when the message is hidden again
        found = world.result_of(course)
        assert found is not None
        assert found.status is BuildStatus.FAILED
        assert world.messages == []

    asyncio.run(run())


def test_the_end_of_the_grace_leaves_what_hangs() -> None:
    """The message comes again; the next process records the end."""

    async def run() -> None:
        world = _world()
        course = await _told_end(world)
        world.gate = anyio.Event()  # is never opened
        consumers = world.process().consumers
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(consumers.run)
                while not consumers.statistics().in_flight:  # noqa: ASYNC110 - raises no event
                    await anyio.sleep(0.01)
                consumers.stop()
                consumers.expire()
        assert consumers.statistics().in_flight == 0
        assert world.result_of(course) is None
        world.gate = None
        world.advance(61)
        await world.process().turn()
        assert world.result_of(course) is not None
        assert world.messages == []

    asyncio.run(run())


def test_an_execution_that_ends_again_is_asked_for_until_it_shows_it() -> None:
    """CodePipeline is some seconds behind its event, and still shows the first end."""

    async def run() -> None:
        world = _world()
        first = _attempt(world, name="deploy")
        second = Attempt(first.id, first.end + 50, first.end + 51, "SUCCEEDED")
        course = Course(StartedKind.EXECUTION, [first, second])
        world.courses.append(world.own(course))
        await world.index(course)
        world.advance(31)
        world.send(event_of(course, first, ended=True))
        process = world.process()
        await process.turn()
        world.advance(51)
        world.lag = 20
        world.send(event_of(course, second, ended=True))
        await process.turn()
        found = world.result_of(course)
        assert found is not None
        assert found.status is BuildStatus.FAILED
        world.advance(30)
        await process.turn()
        found = world.result_of(course)
        assert found is not None
        assert found.status is BuildStatus.SUCCEEDED
        assert world.messages == []

    asyncio.run(run())
