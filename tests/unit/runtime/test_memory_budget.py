"""One memory budget for all archives: no deadlock, no lost bytes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskGroup
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.wait import PATIENCE_SECONDS

from asyncbuild.domain.errors import ConfigError
from asyncbuild.runtime.memory_budget import MemoryBudget


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[TaskGroup]:
    """Yield a task group that fails rather than waits forever."""
    with anyio.fail_after(seconds):
        async with anyio.create_task_group() as tasks:
            yield tasks


async def _queued(budget: MemoryBudget, count: int) -> None:
    """Wait until `count` requests are waiting."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while budget.statistics().waiting != count:
            await anyio.lowlevel.checkpoint()


async def test_within_the_reservation_nothing_waits() -> None:
    """Takes up to the reservation are granted at once, whatever others hold."""
    budget = MemoryBudget(100)
    async with budget.open_account(40) as first, budget.open_account(40) as second:
        await first.take(40)
        await first.take(20)
        with anyio.fail_after(PATIENCE_SECONDS):
            await second.take(40)
        assert budget.statistics().held_bytes == 100


async def test_beyond_the_reservation_a_take_waits_for_free_bytes() -> None:
    """The take is granted when another account returns bytes."""
    budget = MemoryBudget(100)
    async with budget.open_account(40) as first, budget.open_account(40) as second:
        await first.take(40)
        await first.take(20)
        await second.take(40)
        async with _within(PATIENCE_SECONDS) as tasks:
            tasks.start_soon(second.take, 10)
            await _queued(budget, 1)
            first.give_back(20)
        assert budget.statistics().held_bytes == 90


async def test_admission_is_first_come_first_served() -> None:
    """A small archive does not overtake a large one that has been waiting."""
    budget = MemoryBudget(100)
    order: list[int] = []

    async def archive(reserved: int) -> None:
        async with budget.open_account(reserved):
            order.append(reserved)

    async with _within(PATIENCE_SECONDS) as tasks, budget.open_account(60):
        tasks.start_soon(archive, 80)
        await _queued(budget, 1)
        tasks.start_soon(archive, 10)
        await _queued(budget, 2)
        assert order == []
    assert order == [80, 10]


async def test_a_cancelled_wait_takes_nothing() -> None:
    """Neither a wait for admission nor one for bytes leaves a trace."""
    budget = MemoryBudget(100)
    async with budget.open_account(60) as account:
        await account.take(60)
        async with _within(PATIENCE_SECONDS) as tasks:
            tasks.start_soon(_open_and_close, budget, 50)
            tasks.start_soon(account.take, 50)
            await _queued(budget, 2)
            tasks.cancel_scope.cancel()
        statistics = budget.statistics()
        assert (
            statistics.reserved_bytes,
            statistics.held_bytes,
            statistics.accounts,
            statistics.waiting,
        ) == (60, 60, 1, 0)


async def test_a_grant_that_meets_a_cancellation_is_undone() -> None:
    """Granted and cancelled in the same turn of the loop: the bytes are returned."""
    budget = MemoryBudget(100)
    async with budget.open_account(60) as first, budget.open_account(40) as second:
        await first.take(60)
        async with _within(PATIENCE_SECONDS) as tasks:
            tasks.start_soon(second.take, 40)
            tasks.start_soon(second.take, 10)
            await _queued(budget, 1)
            second.give_back(10)
            tasks.cancel_scope.cancel()
        assert budget.statistics().held_bytes in (90, 100)
        second.give_back(second.held_bytes)
        assert budget.statistics().held_bytes == 60


async def _open_and_close(budget: MemoryBudget, reserved: int) -> None:
    async with budget.open_account(reserved):
        pass


async def test_a_closed_account_frees_its_bytes() -> None:
    """A failed upload need not account for every part; a late return changes nothing."""
    budget = MemoryBudget(100)
    async with budget.open_account(60) as account:
        await account.take(30)
    account.give_back(30)
    assert (budget.statistics().held_bytes, budget.statistics().reserved_bytes) == (0, 0)


async def test_more_than_was_taken_cannot_be_returned() -> None:
    """A mistake in a consumer is raised where it is made."""
    async with MemoryBudget(100).open_account(60) as account:
        with pytest.raises(ValueError, match="held"):
            account.give_back(1)


async def test_an_archive_larger_than_the_budget_is_a_fault_of_the_settings() -> None:
    """The error names the setting and the number it needs."""
    with pytest.raises(ConfigError, match="memory_budget_bytes to at least 200"):
        async with MemoryBudget(100).open_account(200):
            pass


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    total=st.integers(40, 120),
    archives=st.lists(
        st.tuples(
            st.integers(10, 40),
            st.lists(st.integers(1, 10), max_size=12),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_every_archive_ends(total: int, archives: list[tuple[int, list[int]]]) -> None:
    """Any number of archives that collect parts end; the sum always fits."""
    anyio.run(_run_archives, total, archives)


async def _run_archives(total: int, archives: list[tuple[int, list[int]]]) -> None:
    budget = MemoryBudget(total)

    async def archive(reserved: int, takes: list[int]) -> None:
        async with budget.open_account(reserved) as account:
            collected = 0
            for nbytes in takes:
                if collected + nbytes > account.reserved_bytes:  # a part is full: it is sent
                    await anyio.lowlevel.checkpoint()
                    account.give_back(collected)
                    collected = 0
                await account.take(nbytes)
                collected += nbytes
                statistics = budget.statistics()
                assert statistics.held_bytes <= total
                assert statistics.reserved_bytes <= total
                await anyio.lowlevel.checkpoint()

    async with _within(PATIENCE_SECONDS) as tasks:
        for reserved, takes in archives:
            tasks.start_soon(archive, min(reserved, total), takes)
    statistics = budget.statistics()
    assert (statistics.reserved_bytes, statistics.held_bytes, statistics.waiting) == (0, 0, 0)
