"""Admission of fetches to git's memory where one forge is slow, and room left for the others."""

from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from hypothesis import given
from hypothesis import strategies as st
from support.wait import PATIENCE_SECONDS

from asyncbuild.git.formats.process_kinds import ProcessKind
from asyncbuild.git.process.admission import Admission
from asyncbuild.git.process.memory import GitMemory


class _Held:
    """Requests of an admission, each held until it is ended."""

    def __init__(self, admission: Admission, tasks: TaskGroup) -> None:
        self._admission, self._tasks = admission, tasks
        self.granted: list[tuple[str, int]] = []
        self._ends: dict[tuple[str, int], anyio.Event] = {}

    async def ask(self, forge: str, nbytes: int) -> None:
        """Ask, and return once the request is granted or waits."""
        self._tasks.start_soon(self._hold, forge, nbytes)
        await anyio.wait_all_tasks_blocked()

    async def _hold(self, forge: str, nbytes: int) -> None:
        key = (forge, nbytes)
        async with self._admission.open(forge, nbytes):
            self.granted.append(key)
            end = self._ends[key] = anyio.Event()
            await end.wait()
        self.granted.remove(key)

    async def end(self, forge: str, nbytes: int) -> None:
        """Return the granted bytes."""
        self._ends[forge, nbytes].set()
        await anyio.wait_all_tasks_blocked()


async def _grant(total: int, kept: int, others: int, *asked: tuple[str, int]) -> list[str]:
    admission = Admission(total, kept_bytes=kept, others=others)
    async with anyio.create_task_group() as tasks:
        held = _Held(admission, tasks)
        for each in asked:
            await held.ask(*each)
        found = [forge for forge, _ in held.granted]
        tasks.cancel_scope.cancel()
    assert admission.free_bytes == total
    return found


async def test_a_forge_that_holds_some_leaves_room_for_as_many_others() -> None:
    """Each of three forges gets a fetch, however many the first two ask for."""
    for forge in ("slow", "slower"):
        many = [(forge, 20 + n) for n in range(5)]
        assert await _grant(100, 25, 2, *many) == [forge, forge]
        assert await _grant(100, 25, 2, *many, ("other", 25)) == [forge, forge, "other"]
    both = [("slow", 25), ("slow", 25), ("slow", 25), ("slower", 25), ("slower", 25)]
    assert await _grant(100, 25, 2, *both) == ["slow", "slow", "slower"]
    assert await _grant(100, 25, 2, *both, ("other", 25)) == ["slow", "slow", "slower", "other"]


async def test_a_single_forge_gets_all_memory() -> None:
    """Requests are granted in turn, as far as memory reaches."""
    assert await _grant(100, 25, 0, *[("one", 30 + n) for n in range(5)]) == ["one"] * 3


async def test_a_large_request_is_not_overtaken_without_end() -> None:
    """Later requests of its own forge wait behind it, and so do further ones of other forges."""
    admission = Admission(100, kept_bytes=25, others=2)
    async with anyio.create_task_group() as tasks:
        held = _Held(admission, tasks)
        for each in (("a", 20), ("b", 15), ("a", 90), ("a", 5), ("b", 5)):
            await held.ask(*each)
        assert held.granted == [("a", 20), ("b", 15)]
        await held.end("a", 20)
        assert held.granted == [("b", 15)]
        await held.ask("c", 1)
        assert held.granted == [("b", 15), ("c", 1)]
        await held.end("b", 15)
        await held.end("c", 1)
        assert ("a", 90) in held.granted
        tasks.cancel_scope.cancel()


_requests = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(1, 100), st.integers(0, 3)), max_size=12
)


@given(requests=_requests, kept=st.integers(0, 30), others=st.integers(0, 3))
async def test_the_sum_never_exceeds_the_memory_and_all_is_returned(
    requests: list[tuple[str, int, int]], kept: int, others: int
) -> None:
    """Requests end in any order, and some are cancelled."""
    admission = Admission(100, kept_bytes=kept, others=others)
    seen = 0

    async def hold(forge: str, nbytes: int, steps: int) -> None:
        nonlocal seen
        async with admission.open(forge, nbytes):
            assert admission.free_bytes >= 0
            seen += 1
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()

    async def give_up(forge: str, nbytes: int, _: int) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with admission.open(forge, nbytes):
                await anyio.sleep_forever()

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            for each in requests:
                tasks.start_soon(hold, *each)
                tasks.start_soon(give_up, *each)
    assert seen == len(requests)
    assert admission.free_bytes == 100


@pytest.mark.parametrize("forges", range(1, 6))
async def test_two_hanging_forges_leave_a_fetch_to_the_next(forges: int) -> None:
    """Memory has a share for each of up to three forges.

    With CodeCommit alone it gets all three.
    """
    memory = GitMemory(600, forges)
    stuck = [f"forge{n}" for n in range(min(2, forges - 1))]

    async def hang(forge: str) -> None:
        async with memory.reserve(ProcessKind.FETCH, memory.shares(ProcessKind.FETCH), forge):
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        for forge in stuck:
            for _ in range(10):
                tasks.start_soon(hang, forge)
                await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(PATIENCE_SECONDS):
            for _ in range(3 if forges == 1 else 1):
                share = memory.reserve(
                    ProcessKind.FETCH, memory.shares(ProcessKind.FETCH), "codecommit"
                )
                await stack.enter_async_context(share)
        tasks.cancel_scope.cancel()
