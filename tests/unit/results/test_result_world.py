"""Results, retries and batches in virtual time, with random faults and kills.

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
from support.result_world import Attempt, Course, ResultWorld, WorldProcess, event_of

from asyncbuild.domain.results.build_result import StartedKind
from asyncbuild.results.facts.attempt_facts import GONE_AFTER, RETRY_SHOWS_WITHIN
from asyncbuild.results.facts.result_messages import BUILD_STATUSES
from asyncbuild.runtime import log as logs

_EXAMPLES = int(os.environ.get("ASYNCBUILD_WORLD_EXAMPLES", "60"))
_STEPS = 50 if _EXAMPLES >= 1_000 else 30
_T = TypeVar("_T")

_RUN_SECONDS = st.sampled_from([1, 40, 580, 700, 5_000])
_END = st.sampled_from(["SUCCEEDED", "FAILED", "FAULT", "TIMED_OUT", "STOPPED"])
_PROCESS = st.integers(0, 2)


class Results(RuleBasedStateMachine):
    """The world's bucket checks each write; the end of the test checks that nothing is missing."""

    @initialize(seed=st.integers(0, 2**32), lag=st.sampled_from([0, 0, 2, 20]))
    def begin(self, seed: int, lag: float) -> None:
        """Start two processes on one queue."""
        logs.mute()
        self.runner = asyncio.Runner()
        self.world = ResultWorld(Random(seed), lag=lag)  # noqa: S311 - the same in every run
        self.processes = [self.world.process() for _ in range(3)]

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(work)

    @rule(
        ends=st.lists(_END, min_size=1, max_size=3),
        seconds=_RUN_SECONDS,
        limit=st.integers(0, 3),
        index=st.sampled_from(["ours"] * 6 + ["later", "not-ours", "not-ours"]),
    )
    def start_build(self, ends: list[str], seconds: float, limit: int, index: str) -> None:
        """Start a build, which CodeBuild may try again, of ours or with our variables.

        The index may be written later: its process was killed, and the message comes again.
        """
        # All attempts but the last fail: CodeBuild makes another one after these alone.
        ends = [*["FAILED"] * min(len(ends) - 1, limit), ends[-1]]
        course = self.world.add(Course(StartedKind.BUILD, self._attempts(ends, seconds, limit)))
        if index != "not-ours":
            self.world.own(course)
        if index == "ours":
            self._run(self.world.index(course))
        self._tell(course)

    def _attempts(self, ends: list[str], seconds: float, limit: int) -> list[Attempt]:
        world, begin, attempts = self.world, self.world.now, list[Attempt]()
        for number, status in enumerate(ends):
            id_ = f"web:u{world.next_number()}"
            made = Attempt(id_, begin, begin + seconds, status, number=number, limit=limit)
            if attempts:
                made.previous, attempts[-1].next = attempts[-1].id, id_
                attempts[-1].next_shows_at = attempts[-1].end + world.random.choice([0, 3, 100])
            attempts.append(made)
            begin = made.end + world.random.choice([0, 5, 60])
        return attempts

    def _tell(self, course: Course) -> None:
        for each in course.attempts:
            if self.world.random.random() < 0.3:
                self.world.tell(event_of(course, each, ended=False), each.begin)
            if self.world.tell(event_of(course, each, ended=True), each.end):
                course.last_told = each.end

    @rule(status=_END, seconds=_RUN_SECONDS, children=st.integers(0, 2), ours=st.booleans())
    def start_batch(self, status: str, seconds: float, children: int, ours: bool) -> None:  # noqa: FBT001 - hypothesis gives it
        """Start a batch, whose children tell their ends, and which itself tells none."""
        world = self.world
        id_ = f"web:b{world.next_number()}"
        end = world.now + seconds
        course = Course(StartedKind.BATCH, [Attempt(id_, world.now, end, status)])
        world.add(course)
        if ours:
            world.own(course)
            assert course.started is not None
            of = replace(course.started.of, kind=StartedKind.BATCH)
            course.started = replace(course.started, of=of)
            self._run(self._index_batch(course))
        for _ in range(children):
            child = self._attempts(["FAILED"], seconds, 0)
            child[0].batch = f"arn:aws:codebuild:eu-west-1:123456789012:build-batch/{id_}"
            self._tell(world.add(Course(StartedKind.BUILD, child)))

    async def _index_batch(self, course: Course) -> None:
        """Write the index of a batch, which no version starts yet."""
        await self.world.index(course)
        for key in list(self.world.kept):
            moved = key.replace("/build/web/b", "/batch/web/b")
            body, at = self.world.kept.pop(key)
            self.world.kept[moved] = (
                body.replace(b'"kind":"build"', b'"kind":"batch"') if moved != key else body,
                at,
            )

    @rule(
        status=st.sampled_from(["SUCCEEDED", "FAILED", "STOPPED"]),
        seconds=_RUN_SECONDS,
        again=st.booleans(),
    )
    def start_execution(self, status: str, seconds: float, again: bool) -> None:  # noqa: FBT001 - as above
        """Start an execution, whose failed stage may be tried again."""
        world = self.world
        id_ = f"deploy:e{world.next_number()}"
        attempts = [Attempt(id_, world.now, world.now + seconds, status)]
        if status == "FAILED" and again:
            begin = attempts[0].end + 50
            attempts.append(Attempt(id_, begin, begin + seconds, "SUCCEEDED"))
        course = world.own(Course(StartedKind.EXECUTION, attempts))
        world.courses.append(course)
        self._run(world.index(course))
        self._tell(course)

    @precondition(lambda self: self.world.courses)
    @rule(number=st.integers(0, 1_000))
    def repeat_start(self, number: int) -> None:
        """Deliver a push again: its dispatch writes the index again."""
        course = self.world.courses[number % len(self.world.courses)]
        if course.is_ours and course.kind is not StartedKind.BATCH:
            self._run(self.world.index(course))

    @precondition(lambda self: self.world.courses)
    @rule(number=st.integers(0, 1_000))
    def forget(self, number: int) -> None:
        """Have CodeBuild forget a build: its project was deleted."""
        course = self.world.courses[number % len(self.world.courses)]
        if course.kind is StartedKind.BUILD:
            for each in course.attempts:
                each.gone_at = self.world.now

    @rule(seconds=st.sampled_from([1, 5, 20, 61, 240, 601, 3_600]))
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.world.advance(seconds)

    @rule()
    def sweep(self) -> None:
        """Ask for a round."""
        self.world.sweep()

    @rule(
        numbers=st.lists(_PROCESS, min_size=1, max_size=3),
        turns=st.integers(1, 4),
        failing=st.sampled_from([0, 0, 0, 0.1, 0.5]),
        slow=st.sampled_from([0, 0, 0.05, 0.3]),
        kill_after=st.sampled_from([-1, -1, 0, 1, 2, 3, 5, 8, 13, 30]),
    )
    def work(
        self, numbers: list[int], turns: int, failing: float, slow: float, kill_after: int
    ) -> None:
        """Let processes work beside each other; calls fail, and one of them may be killed."""
        world = self.world
        world.failing, world.slow, world.kill_after = failing, slow, kill_after
        for _ in range(turns):
            self._run(self._work_together([self.processes[each] for each in set(numbers)]))
        world.failing, world.slow, world.kill_after = 0.0, 0.0, -1

    async def _work_together(self, processes: list[WorldProcess]) -> None:
        async def work(process: WorldProcess) -> None:
            if await process.turn() is None:  # killed; another one begins in its place
                self.processes[self.processes.index(process)] = self.world.process()

        async with anyio.create_task_group() as tasks:
            for each in processes:
                tasks.start_soon(work, each)

    # --- the end ----------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Let all end, make rounds, and check that each end of ours is recorded, and no other."""
        if hasattr(self, "world"):
            try:
                self._end()
            finally:
                self.runner.close()

    def _end(self) -> None:
        world = self.world
        world.lag = 0
        for course in world.courses:
            if course.is_ours and not course.indexed:
                self._run(world.index(course))
        # All builds end, their events arrive, retries show, and messages lose their patience.
        world.advance(20_000 + RETRY_SHOWS_WITHIN.total_seconds())
        self._settle()
        world.sweep()
        self._settle()
        if list(world.iter_marks()):  # of builds that CodeBuild has forgotten
            world.advance(GONE_AFTER.total_seconds())
            world.sweep()
            self._settle()
        assert world.messages == []
        assert world.dead_letters == []
        assert list(world.iter_marks()) == []
        for course in world.courses:
            self._check_end(course)
        world.histories.check()

    def _settle(self) -> None:
        """Let a process work until no message is left; the hidden ones come again in a minute."""
        for _ in range(40):
            while any(each.visible_at <= self.world.now for each in self.world.messages):
                self._run(self.processes[0].turn())
            if not self.world.messages:
                return
            self.world.advance(61)
        raise AssertionError(self.world.messages)

    def _check_end(self, course: Course) -> None:
        if not course.is_ours:  # the bucket refuses records without an owner
            return
        found, newest = self.world.result_of(course), course.attempts[-1]
        assert found is not None, f"no result of {course}"
        assert found.status.is_end, f"no end of {course}: {found}"
        if "does not know it" in found.reason:
            assert newest.gone_at <= self.world.now
            return
        if course.kind is StartedKind.EXECUTION and course.last_told < newest.end:
            return  # that it was tried again was lost: nothing asks for an execution that has ended
        if newest.gone_at < float("inf") and found.attempt_id != newest.id:
            return  # the end of an earlier attempt; of the later ones nothing is known any more
        assert found.status is BUILD_STATUSES[newest.status], f"{course}: {found}"
        if course.kind is StartedKind.BUILD:
            assert found.attempt_id == newest.id


TestResults = Results.TestCase
TestResults.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=_STEPS,
    suppress_health_check=[HealthCheck.too_slow],
)
