"""Consumers on asyncio-pool: failures are raised, and no task is left over."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wait import PATIENCE_SECONDS

from asyncbuild.queue.lane.round_robin import Turns
from asyncbuild.queue.worker_pool import Job, WorkerPool, open_consumers


async def _sleep_long() -> None:
    await anyio.sleep_forever()


def _job(run: Callable[[], Awaitable[None]] = _sleep_long, lane: object = "a") -> Job:
    return Job(lane, run)


async def _wait_busy(consumers: WorkerPool, free: int) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while consumers.statistics().free != free:
            await anyio.lowlevel.checkpoint()


async def test_jobs_run_in_parallel_up_to_the_number_of_consumers() -> None:
    """Three consumers, five jobs: two wait."""
    async with open_consumers(3) as consumers:
        jobs = [_job() for _ in range(5)]
        for job in jobs:
            consumers.submit(job)
        await _wait_busy(consumers, 0)
        assert consumers.statistics().waiting == 2
        for job in jobs:
            consumers.cancel(job)
        for job in jobs:
            await job.ended.wait()


async def test_a_failed_job_ends_the_owner() -> None:
    """An error of a job is a bug, raised by the block and not left in a future."""

    async def fail() -> None:
        raise ValueError("a bug")

    before = asyncio.all_tasks()
    with pytest.raises(ExceptionGroup) as caught, anyio.fail_after(PATIENCE_SECONDS):  # noqa: PT012 - one block
        async with open_consumers(2) as consumers:
            consumers.submit(_job())
            consumers.submit(_job(fail))
            await anyio.sleep_forever()
    assert caught.group_contains(ValueError, match="a bug")
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("steps", range(4))
async def test_cancellation_leaves_no_task(steps: int) -> None:
    """Cancellation may come before a worker took its first step."""
    before = asyncio.all_tasks()
    ended = False

    async def run() -> None:
        nonlocal ended
        try:
            await anyio.sleep_forever()
        finally:
            ended = True

    with anyio.fail_after(PATIENCE_SECONDS), anyio.CancelScope() as scope:
        async with open_consumers(3) as consumers:
            consumers.submit(_job(run))
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            scope.cancel()
            await anyio.sleep_forever()
    assert asyncio.all_tasks() <= before
    assert ended or steps < 2


async def test_a_body_that_raises_at_once_leaves_no_task() -> None:
    """asyncio-pool never returns the slot of a job that was cancelled before its first step."""
    before = asyncio.all_tasks()
    with pytest.raises(ExceptionGroup), anyio.fail_after(PATIENCE_SECONDS):
        async with open_consumers(3):
            raise ValueError("at once")
    assert asyncio.all_tasks() <= before


async def test_a_cancelled_job_frees_its_consumer() -> None:
    """The next one gets it."""
    async with open_consumers(1) as consumers:
        first, second = _job(), _job()
        consumers.submit(first)
        consumers.submit(second)
        await _wait_busy(consumers, 0)
        assert not consumers.cancel(first)
        with anyio.fail_after(PATIENCE_SECONDS):
            await first.ended.wait()
        assert consumers.cancel(second) or not second.ended.is_set()
        consumers.cancel(second)


def test_turns_go_to_the_lane_with_the_fewest_jobs_running() -> None:
    """A lane with a hundred jobs gets one turn among the others."""
    turns: Turns[str] = Turns()
    for n in range(100):
        turns.add("hot", f"hot-{n}")
    taken = [turns.take() for _ in range(3)]
    turns.add("cold", "cold-0")
    taken.append(turns.take())
    assert [job for found in taken if found for job in [found[1]]] == [
        "hot-0", "hot-1", "hot-2", "cold-0",
    ]  # fmt: skip
    assert len(turns) == 97
    assert turns.remove("hot", "hot-50")
    assert not turns.remove("hot", "hot-50")


async def test_hanging_forges_leave_consumers_for_the_others() -> None:
    """Each of three forges has one of four consumers; two hanging forges do not get the third's."""
    async with open_consumers(4, forges=3, reserve=1) as consumers:
        slow = [Job(n, _sleep_long, forge="slow") for n in range(5)]
        for job in slow:
            consumers.submit(job)
        await _wait_busy(consumers, 2)
        with anyio.fail_after(PATIENCE_SECONDS):
            await consumers.wait_free()
        assert [consumers.is_held_back(job) for job in slow] == [False, False, True, True, True]
        slower = [Job(-n, _sleep_long, forge="slower") for n in (1, 2)]
        for job in slower:
            consumers.submit(job)
        await _wait_busy(consumers, 1)
        other = Job("other", _sleep_long, forge="other")
        consumers.submit(other)
        await _wait_busy(consumers, 0)
        assert [other.began, slower[0].began, slower[1].began] == [True, True, False]
        consumers.cancel(slow[0])
        await slow[0].ended.wait()
        with anyio.fail_after(PATIENCE_SECONDS):
            while not (slow[2].began or slower[1].began):
                await anyio.lowlevel.checkpoint()
        for job in (*slow, *slower, other):
            consumers.cancel(job)


async def test_busy_lanes_leave_consumers_to_idle_lanes() -> None:
    """Lanes that never end have many jobs waiting; another lane is received, and its job starts."""
    async with open_consumers(8) as consumers:
        slow = [Job(lane, _sleep_long) for _ in range(10) for lane in "abc"]
        for job in slow:
            consumers.submit(job)
        await _wait_busy(consumers, 2)
        for lane in "de":
            with anyio.fail_after(PATIENCE_SECONDS):
                await consumers.wait_free()
            other = Job(lane, _sleep_long)
            slow.append(other)
            consumers.submit(other)
            with anyio.fail_after(PATIENCE_SECONDS):
                while not other.began:
                    await anyio.lowlevel.checkpoint()
        for job in slow:
            consumers.cancel(job)


@given(
    count=st.integers(1, 6),
    reserve=st.integers(0, 3),
    spare=st.integers(0, 3),
    jobs=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "x", "y"])), max_size=30),
    ends=st.randoms(use_true_random=False),
)
def test_shares_are_kept_and_every_job_runs(
    count: int, reserve: int, spare: int, jobs: list[tuple[str, str]], ends: Random
) -> None:
    """Jobs end in any order; jobs without a forge have no limit."""
    turns: Turns[int] = Turns(count, forges=2, reserve=reserve, spare=spare)
    for number, (lane, forge) in enumerate(jobs):
        turns.add(lane, number, forge)
    running: list[tuple[object, str]] = []
    seen: list[int] = []
    while len(seen) < len(jobs) or running:
        taken = turns.take() if len(running) < count else None
        if taken is not None:
            of_lane, number, forge = taken
            seen.append(number)
            again = of_lane in [lane for lane, _ in running]
            running.append((of_lane, forge))
            assert not again or len(running) + spare <= count
            of = Counter(forge for _, forge in running)
            if forge:  # it leaves the other forge its share
                other = "y" if forge == "x" else "x"
                owed = max(0, reserve - of[other])
                entitled = of[forge] <= reserve
                assert len(running) + owed <= count or entitled or len(running) == 1
            continue
        assert running  # otherwise nothing would ever start
        assert len(running) == count or not turns.count_ready()
        turns.done(*running.pop(ends.randrange(len(running))))
    for lane in "abc":
        own = [number for number, (of, _) in enumerate(jobs) if of == lane]
        assert [number for number in seen if number in own] == own


def test_with_fewer_consumers_than_forges_the_last_is_for_another_forge() -> None:
    """The last consumer is not kept for a forge without jobs."""
    turns: Turns[str] = Turns(2, forges=5, reserve=1)
    for lane in "abc":
        turns.add(lane, f"slow {lane}", "slow")
    assert turns.take() is not None
    assert turns.take() is None
    turns.add("d", "other", "other")
    assert turns.take() == ("d", "other", "other")
