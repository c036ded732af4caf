"""Faults that concern one build, project or message, and must not reach any other."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import anyio
import pytest
from botocore.exceptions import ClientError
from support.listening import hearing
from support.result_world import Attempt, Course, ResultWorld, event_of
from support.result_world_servers import WorldRecords, WorldServices, WorldSqs
from support.wait import PATIENCE_SECONDS

from asyncbuild.domain.results.build_result import BuildResult, BuildStatus, StartedKind
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.results.facts.attempt_facts import GONE_AFTER
from asyncbuild.results.recorder import ResultRecorder
from asyncbuild.results.result_consumers import Turn

_DENIED: Any = {
    "Error": {"Code": "AccessDeniedException", "Message": "no"},
    "ResponseMetadata": {"HTTPStatusCode": 400},
}


async def _start(world: ResultWorld, *projects: str) -> list[Course]:
    courses = []
    for name in projects:
        attempt = Attempt(f"{name}:u{world.next_number()}", world.now, world.now + 30, "FAILED")
        course = world.own(world.add(Course(StartedKind.BUILD, [attempt])))
        await world.index(course)
        courses.append(course)
    world.advance(700)
    return courses


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def _world() -> ResultWorld:
    return ResultWorld(Random(1))  # noqa: S311 - the same in every run


def _keep_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse all questions about builds of the project `secret`."""
    ask = WorldServices.batch_get_builds

    async def refuse(self: WorldServices, *, ids: list[str]) -> Any:  # noqa: ANN401 - as there
        if any(each.startswith("secret:") for each in ids):
            raise ClientError(_DENIED, "BatchGetBuilds")
        return await ask(self, ids=ids)

    monkeypatch.setattr(WorldServices, "batch_get_builds", refuse)


def test_a_project_that_may_not_be_asked_for_fails_no_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The missing right is told once for all builds of the project; others are recorded."""
    _keep_secret(monkeypatch)

    async def run() -> None:
        world = _world()
        ours, *secret = await _start(world, "web", "secret", "secret", "secret")
        world.sweep()
        with hearing() as lines:
            assert await world.process().turn() is Turn.SOME
        found = world.result_of(ours)
        assert found is not None
        assert found.status is BuildStatus.FAILED
        assert world.messages == []
        assert {each.started.of for each in secret if each.started} == set(world.iter_marks())
        (told,) = [line for line in lines if line["event"] == "result.delayed"]
        assert "secret:" in told["build_id"]
        assert "AccessDenied" in told["reason"]

    _run(run())


def test_no_right_is_asked_for_to_a_project_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds that others start there with our source cause no warning that names it."""
    _keep_secret(monkeypatch)

    async def run() -> None:
        world = _world()
        attempt = Attempt("secret:u0", world.now, world.now, "FAILED")
        world.send(event_of(Course(StartedKind.BUILD, [attempt]), attempt, ended=True))
        world.advance(1)
        process = world.process()
        with hearing() as lines:
            assert await process.turn() is Turn.HIDDEN
        assert lines == []
        assert process.consumers.statistics().failing == ""

    _run(run())


def test_a_build_that_cannot_be_understood_repeats_no_round_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A state that CodeBuild has invented since: five tries, others are recorded."""
    ask = WorldServices.batch_get_builds

    async def answer(self: WorldServices, *, ids: list[str]) -> Any:  # noqa: ANN401 - as there
        told = await ask(self, ids=ids)
        odd = (each for each in told["builds"] if each["id"].startswith("odd:"))
        for each in odd:
            each["buildStatus"] = "DREAMING"
        return told

    monkeypatch.setattr(WorldServices, "batch_get_builds", answer)

    async def run() -> None:
        world = _world()
        _, ours = await _start(world, "odd", "web")
        world.sweep()
        process, turns = world.process(), 0
        with hearing():
            while world.messages and turns < 20:
                turns += await process.turn() is not Turn.EMPTY
                world.advance(61)
        assert turns == 5
        assert world.dead_letters == []
        assert world.result_of(ours) is not None

    _run(run())


def test_a_bug_in_one_build_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The round asks for all others, and says which one it was."""
    read = WorldRecords.get_record

    async def fail(self: WorldRecords, key: str) -> bytes | None:
        if "started/build/odd/" in key:
            raise ZeroDivisionError
        return await read(self, key)

    monkeypatch.setattr(WorldRecords, "get_record", fail)

    async def run() -> None:
        world = _world()
        odd, ours = await _start(world, "odd", "web")
        world.sweep()
        with hearing() as lines:
            await world.process().turn()
        assert world.result_of(ours) is not None
        assert world.result_of(odd) is None
        assert world.messages == []
        (told,) = [line for line in lines if line["event"] == "result.delayed"]
        assert (told["kind"], "ZeroDivisionError" in told["reason"]) == ("bug", True)

    _run(run())


def test_a_record_that_cannot_be_read_stops_no_other() -> None:
    """An entry of the index, or the result itself: the one is told, the other replaced."""

    async def run() -> None:
        world = _world()
        damaged, ours, spoiled = await _start(world, "odd", "web", "till")
        assert damaged.started
        assert spoiled.started
        world.kept[world.keys.started(damaged.started.of)] = (b"{", world.now)
        world.kept[world.keys.result(spoiled.started.record)] = (b"[]", world.now)
        world.check_write = lambda *_: None  # type: ignore[method-assign] # reads what is spoiled
        world.sweep()
        with hearing() as lines:
            await world.process().turn()
        assert world.result_of(ours) is not None
        assert world.result_of(spoiled) is not None
        assert world.messages == []
        (told,) = [line for line in lines if line["event"] == "result.delayed"]
        assert told["build_id"] == damaged.started.of.id

    _run(run())


def test_a_retry_that_is_too_new_to_be_seen_is_found_later() -> None:
    """Its event is faster than BatchGetBuilds, which knows nothing of it at first."""

    async def run() -> None:
        world = _world()
        first, second = (
            Attempt(f"web:u{world.next_number()}", world.now, world.now + 30, status)
            for status in ("FAILED", "SUCCEEDED")
        )
        first.limit = second.limit = second.number = 1
        first.next, second.previous = second.id, first.id
        second.begin, second.end = first.end + 1, first.end + 2
        course = world.own(world.add(Course(StartedKind.BUILD, [first, second])))
        await world.index(course)
        world.advance(40)
        for key in list(world.kept):
            if "unfinished" in key:
                del world.kept[key]  # so that no round can find it
        world.lag = 39
        world.send(event_of(course, second, ended=True))
        process = world.process()
        await process.turn()
        assert world.result_of(course) is None
        world.lag = 0
        world.advance(10)
        await process.turn()
        found = world.result_of(course)
        assert found is not None
        assert (found.status, found.attempt) == (BuildStatus.SUCCEEDED, 2)

    _run(run())


def test_a_build_has_no_result_of_another_build_of_its_push() -> None:
    """A push that was built twice has one record, which is about the later build."""

    async def run() -> None:
        world = _world()
        first, second = await _start(world, "web", "web")
        assert first.started
        assert second.started
        second.push = first.push
        await world.index(second)
        attempt = second.attempts[0]
        assert attempt.id != first.attempts[0].id
        process = world.process()
        facts = await process.questions.ask(second.started.of)
        assert facts is not None
        world.check_write = lambda *_: None  # type: ignore[method-assign] # knows one push of each
        started = await world.starts.find_started(second.started.of)
        assert started is not None
        await process.recorder.record(started, facts)
        assert await world.starts.find_result_of(second.started.of) is not None
        assert await world.starts.find_result_of(first.started.of) is None

    _run(run())


def test_a_message_that_says_nothing_spoils_no_other() -> None:
    """Any value where a name is expected: the message alone is given up."""

    async def run() -> None:
        world = _world()
        (ours,) = await _start(world, "web")
        odd = '{"source": [], "detail-type": {}, "detail": []}'
        world.send(odd)
        world.send(event_of(ours, ours.attempts[0], ended=True))
        with hearing():
            assert await world.process().turn() is Turn.SOME
        assert world.result_of(ours) is not None
        assert world.dead_letters == [odd]
        assert world.messages == []

    _run(run())


def test_a_drain_ends_though_builds_of_others_end_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their events wait for an entry in the index that never comes; no long poll stays empty."""
    receive = WorldSqs.receive_message

    async def receive_another(self: WorldSqs, **call: Any) -> Any:  # noqa: ANN401 - as there
        name = f"theirs:u{world.next_number()}"
        theirs = Course(StartedKind.BUILD, [Attempt(name, world.now, world.now, "FAILED")])
        world.send(event_of(world.add(theirs), theirs.attempts[0], ended=True))
        world.advance(1)
        return await receive(self, **call)

    world = _world()

    async def run() -> None:
        (ours,) = await _start(world, "web")
        world.send(event_of(ours, ours.attempts[0], ended=True))
        monkeypatch.setattr(WorldSqs, "receive_message", receive_another)
        consumers = world.process().consumers
        consumers.drain()
        with hearing(), anyio.fail_after(PATIENCE_SECONDS):
            await consumers.run()
        assert world.result_of(ours) is not None

    _run(run())


class _Reports:
    """Reports of ends, kept in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[StartedBuild, BuildResult]] = []

    async def send_end(self, started: StartedBuild, result: BuildResult) -> None:
        """Keep an end."""
        self.sent.append((started, result))


def test_a_build_that_is_gone_is_reported_as_it_is_on_record() -> None:
    """Its process was killed before the report, and then the build was deleted."""

    async def run() -> None:
        world, reports = _world(), _Reports()
        (course,) = await _start(world, "web")
        assert course.started
        facts = await world.process().questions.ask(course.started.of)
        assert facts is not None
        await world.starts.record_result(course.started, facts.result)
        recorder = ResultRecorder(world.starts, reports=reports, clock=world.clock)
        world.advance(GONE_AFTER.total_seconds())
        assert not await recorder.record_gone(course.started)
        ((_, told),) = reports.sent
        assert told.status is BuildStatus.FAILED
        assert list(world.iter_marks()) == []

    _run(run())


def test_of_two_builds_of_a_push_the_later_one_is_reported() -> None:
    """Also if the other one ends after it: one commit status is about both."""

    async def run() -> None:
        world, reports = _world(), _Reports()
        world.check_write = lambda *_: None  # type: ignore[method-assign] # knows one build a push
        first, second = await _start(world, "web", "web")
        second.attempts[0].begin += 1
        second.push = first.push
        await world.index(second)
        recorder = ResultRecorder(world.starts, reports=reports, clock=world.clock)
        process = world.process()
        for each in (second, first):
            assert each.started
            started = await world.starts.find_started(each.started.of)
            facts = await process.questions.ask(each.started.of)
            assert started is not None
            assert facts is not None
            await recorder.record(started, facts)
        assert second.started
        assert [told.of for _, told in reports.sent] == [second.started.of]
        assert list(world.iter_marks()) == []

    _run(run())
