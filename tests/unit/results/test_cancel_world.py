"""Superseded builds in virtual time: which are stopped, which never, with random faults and kills.

`ASYNCBUILD_WORLD_EXAMPLES` sets how many worlds are tried; `make chaos` asks for 5,000.
"""

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

import anyio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support.cancel_world import (
    CancelCourse,
    CancelProcess,
    CancelWorld,
    Waiting,
    make_targets,
)
from support.result_world import PREFIX, Attempt, Course, event_of
from support.result_world_servers import WorldRecords

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.results.build_result import BuildStatus, StartedKind
from asyncbuild.results.facts.attempt_facts import GONE_AFTER, RETRY_SHOWS_WITHIN
from asyncbuild.runtime import log as logs

_EXAMPLES = int(os.environ.get("ASYNCBUILD_WORLD_EXAMPLES", "60"))
_STEPS = 40 if _EXAMPLES >= 1_000 else 25
_T = TypeVar("_T")

_RUN_SECONDS = st.sampled_from([1, 40, 700, 5_000, 5_000])
_END = st.sampled_from(["SUCCEEDED", "FAILED", "FAULT", "TIMED_OUT"])
_COURSE = st.tuples(st.lists(_END, min_size=1, max_size=3), _RUN_SECONDS, st.integers(0, 2))
_KILL_AFTER = st.sampled_from([-1, -1, -1, *range(16)])
_ANY = st.integers(0, 1_000)
_TARGETS = st.sampled_from([("web",), ("web",), ("deploy",), ("web", "deploy")])


class Cancels(RuleBasedStateMachine):
    """The world checks each stop; the end of the test checks that none is missing."""

    @initialize(seed=st.integers(0, 2**32), timed=st.booleans(), lag=st.sampled_from([0, 0, 2]))
    def begin(self, seed: int, timed: bool, lag: float) -> None:  # noqa: FBT001 - hypothesis gives it
        """Start two consumers of results."""
        logs.mute()
        self.runner = asyncio.Runner()
        self.world = CancelWorld(Random(seed), timed=timed, lag=lag)  # noqa: S311 - the same in every run
        self.processes = [self.world.cancel_process() for _ in range(2)]

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(work)

    # --- pushes -----------------------------------------------------------------------------------

    @rule(
        ref=st.sampled_from(["refs/heads/main"] * 4 + ["refs/heads/dev", "refs/tags/v1"]),
        way=st.sampled_from(["forward"] * 4 + ["side", "back"]),
        names=_TARGETS,
        cancels=st.sampled_from([True] * 7 + [False]),
        course=_COURSE,
        delivery=st.sampled_from(["usual"] * 6 + ["late", "doubled"]),
    )
    def push(
        self,
        ref: str,
        way: str,
        names: tuple[str, ...],
        cancels: bool,  # noqa: FBT001 - hypothesis gives it
        course: tuple[list[str], float, int],
        delivery: str,
    ) -> None:
        """Push; a forge may deliver a push after the next one, or twice."""
        world = self.world
        pushed = world.push(ref, way)
        targets = make_targets(names, cancels=cancels)
        waiting = Waiting(pushed, world.pushed[ref], targets, *course)
        if delivery == "late":
            world.lane.append(self._waiting_of(world.push(ref, "forward"), waiting))
        world.lane.append(self._arrived(waiting))
        if delivery == "doubled":
            world.lane.append(self._arrived(waiting))

    def _waiting_of(self, push: Any, like: Waiting) -> Waiting:  # noqa: ANN401 - a push
        return replace(like, push=push, number=self.world.pushed[push.ref], tries=0)

    def _arrived(self, waiting: Waiting) -> Waiting:
        """Return a message as it arrives now: of an untimed event that is its time."""
        if self.world.timed:
            return replace(waiting)
        return replace(waiting, push=replace(waiting.push, time=self.world.second()))

    @precondition(lambda self: self.world.lane)
    @rule(
        times=st.integers(1, 3),
        failing=st.sampled_from([0, 0, 0, 0.1]),
        kill_after=_KILL_AFTER,
        noticed=st.sampled_from([True, True, False]),
    )
    def dispatch(self, times: int, failing: float, kill_after: int, noticed: bool) -> None:  # noqa: FBT001 - as above
        """Settle the first pushes of the lane; the process may be killed at any call."""
        world = self.world
        world.failing, world.kill_after = failing, kill_after
        for _ in range(times):
            if not world.lane:
                break
            faultless = not failing and world.kill_after < 0
            self._dispatch_first(noticed=noticed, faultless=faultless)
        world.failing, world.kill_after = 0.0, -1

    def _dispatch_first(self, *, noticed: bool, faultless: bool) -> None:
        world = self.world
        first = world.lane[0]
        if self._run(world.cancel_process().dispatch(first, noticed=noticed)):
            world.lane.remove(first)
            at_tip = world.tips[first.push.ref] == first.push.commit
            names = {(first.push.id, each.project or each.pipeline or "") for each in first.targets}
            if noticed and faultless and at_tip:
                world.certain |= names - world.settled - world.tried
            world.settled |= names
        else:
            first.tries += 1
            # A target of it may be recorded by now, and its process is gone.
            world.tried |= {(first.push.id, "web"), (first.push.id, "deploy")}

    @precondition(lambda self: self.world.lane)
    @rule(kill_after=_KILL_AFTER)
    def dispatch_beside(self, kill_after: int) -> None:
        """Let a task that has lost its lease settle a push beside the one that has it now."""
        world = self.world
        first, *rest = world.lane[:2]
        world.kill_after = kill_after
        late, now = world.cancel_process(), world.cancel_process()

        async def settle() -> bool:
            done = False
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._late, late, first)
                done = await now.dispatch(first, noticed=True)
                for each in rest:
                    if done and await world.cancel_process().dispatch(each, noticed=False):
                        world.lane.remove(each)
                        world.settled |= {(each.push.id, "web"), (each.push.id, "deploy")}
            return done

        if self._run(settle()):
            world.lane.remove(first)
            world.settled |= {(first.push.id, "web"), (first.push.id, "deploy")}
        else:
            first.tries += 1
            world.tried |= {(first.push.id, "web"), (first.push.id, "deploy")}
        world.kill_after = -1

    async def _late(self, process: CancelProcess, waiting: Waiting) -> None:
        await process.dispatch(replace(waiting), noticed=False)

    @precondition(lambda self: self.world.lane)
    @rule()
    def give_up(self) -> None:
        """Dead-letter the first push of the lane."""
        self.world.dead.append(self.world.lane.pop(0))

    @precondition(lambda self: self.world.dead)
    @rule(number=_ANY, forced=st.booleans())
    def send_back(self, number: int, forced: bool) -> None:  # noqa: FBT001 - as above
        """Send a dead letter back, perhaps to be built however old it is."""
        world = self.world
        waiting = world.dead.pop(number % len(world.dead))
        if forced:
            records: Any = WorldRecords(world, faulty=False)
            self._run(Ledger(records, prefix=PREFIX).force(waiting.push))
        world.lane.append(self._arrived(waiting))

    # --- people -----------------------------------------------------------------------------------

    @precondition(lambda self: self.world.own_courses())
    @rule(number=_ANY)
    def stop_by_hand(self, number: int) -> None:
        """Stop a build in the console."""
        course = self._course(number)
        attempt = course.running(self.world.now)
        if attempt is not None:
            self.world.end(course, attempt)
            course.refused_by_hand = course.refused

    @precondition(lambda self: self.world.own_courses())
    @rule(number=_ANY, seconds=_RUN_SECONDS)
    def retry_by_hand(self, number: int, seconds: float) -> None:
        """Start a copy of a build in the console, or a failed stage of an execution again."""
        world, course = self.world, self._course(number)
        if course.kind is StartedKind.BUILD:
            copied = world.plan("web", ["SUCCEEDED"], seconds, 0)
            world.tell_ends(world.add(Course(StartedKind.BUILD, copied)))
            return
        last = course.attempts[-1]
        if last.end <= world.now and last.status in {"FAILED", "STOPPED"}:
            again = Attempt(last.id, world.now, world.now + seconds, "SUCCEEDED")
            course.attempts.append(again)
            if world.tell(event_of(course, again, ended=True), again.end):
                course.last_told = again.end

    @rule(name=st.sampled_from(["web", "deploy"]))
    def deny(self, name: str) -> None:
        """Take the right to stop a project away, or give it."""
        self.world.denied ^= {name}

    def _course(self, number: int) -> CancelCourse:
        mine = self.world.own_courses()
        return mine[number % len(mine)]

    # --- time and results -------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 1, 5, 61, 240, 601]))
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.world.advance(seconds)

    @rule()
    def sweep(self) -> None:
        """Ask for a round."""
        self.world.sweep()

    @rule(
        turns=st.integers(1, 4),
        failing=st.sampled_from([0, 0, 0, 0.1, 0.3]),
        kill_after=st.sampled_from([-1, -1, 0, 1, 2, 3, 5, 8, 13, 30]),
    )
    def work(self, turns: int, failing: float, kill_after: int) -> None:
        """Let processes work on results beside each other; one of them may be killed."""
        world = self.world
        world.failing, world.kill_after = failing, kill_after
        for _ in range(turns):
            self._run(self._work_together())
        world.failing, world.kill_after = 0.0, -1

    async def _work_together(self) -> None:
        async def work(place: int) -> None:
            if await self.processes[place].consumer.turn() is None:
                self.processes[place] = self.world.cancel_process()

        async with anyio.create_task_group() as tasks:
            for place in range(len(self.processes)):
                tasks.start_soon(work, place)

    # --- the end ----------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Settle all pushes, and check that what is superseded has ended; then let all end."""
        if hasattr(self, "world"):
            try:
                self._end()
            finally:
                self.runner.close()

    def _end(self) -> None:
        world = self.world
        world.lag, world.denied = 0, set()
        self.processes = [world.cancel_process()]  # which know of no missing right
        for _ in range(1_000):
            if not world.lane:
                break
            self._dispatch_first(noticed=bool(world.random.getrandbits(1)), faultless=True)
        assert world.lane == []
        for _ in range(3):
            world.sweep()
            self._settle()
            world.advance(61)  # a failed attempt may be followed by another one
        self._check_superseded()
        world.advance(40_000 + RETRY_SHOWS_WITHIN.total_seconds())
        for _ in range(2):
            world.sweep()
            self._settle()
        if list(world.iter_marks()):  # of builds whose push was given up before their index
            world.advance(GONE_AFTER.total_seconds())
            world.sweep()
            self._settle()
        assert list(world.iter_marks()) == []
        assert [each for each in world.kept if each.startswith(world.keys.all_running)] == []
        for course in world.own_courses():
            if course.started is not None and world.keys.started(course.started.of) in world.kept:
                self._check_result(course)

    def _settle(self) -> None:
        for _ in range(60):
            while any(each.visible_at <= self.world.now for each in self.world.messages):
                self._run(self.processes[0].consumer.turn())
            if not self.world.messages:
                return
            self.world.advance(61)
        raise AssertionError(self.world.messages)

    def _check_superseded(self) -> None:
        """Check that nothing runs that a push has superseded, which is known to be newer."""
        world = self.world
        mine = [
            each
            for each in world.own_courses()
            if each.indexed_supersedable and (each.event_id, each.group[2]) in world.settled
        ]
        for course in mine:
            heads = world.heads.get(course.group[0], [])
            newer = [
                each
                for each in mine
                if each.group == course.group
                and each.event_id in heads
                and course.event_id in heads
                and heads.index(each.event_id) > heads.index(course.event_id)
                and (each.event_id, course.group[2]) in world.certain
            ]
            if not newer or course.event_id == heads[-1]:
                continue
            attempt = course.running(world.now)
            told = world.entry(course)
            by_hand = course.kind is StartedKind.EXECUTION and len(course.attempts) > 1
            assert attempt is None or by_hand, f"{course} runs, superseded by {newer}: {told}"

    def _check_result(self, course: CancelCourse) -> None:
        world = self.world
        found, last = world.result_of(course), course.attempts[-1]
        assert found is not None, f"no result of {course}"
        if found.status is not BuildStatus.STOPPED:
            return
        if course.kind is StartedKind.EXECUTION and len(course.attempts) > 1:
            return  # a person has started it again: it has more than one end
        if last.id in course.stopped:
            assert found.superseded_by, f"{course} was stopped for a newer push: {found}"
            newer = [each for each in world.own_courses() if each.event_id == found.superseded_by]
            same = [each for each in newer if each.group == course.group]
            assert [each.commit for each in same] == [found.superseded_by_commit]
        elif last.end < course.intended_at or course.refused_by_hand:
            assert not found.superseded_by, f"{course} was stopped by a person: {found}"


TestCancels = Cancels.TestCase
TestCancels.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=_STEPS,
    suppress_health_check=[HealthCheck.too_slow],
)
