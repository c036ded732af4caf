"""A dictionary of bounded size, and a bell."""

import anyio
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.runtime.bell import Bell
from asyncbuild.runtime.recent import Recent


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(0, 6), st.integers()), max_size=40))
def test_what_was_written_last_is_kept(most: int, written: list[tuple[int, int]]) -> None:
    """Each key with its newest value, the newest last; no more than `most`."""
    recent: Recent[int, int] = Recent(most)
    for key, value in written:
        recent[key] = value
        assert len(recent) <= most
    newest = list(dict.fromkeys(key for key, _ in reversed(written)))[:most]
    assert list(recent) == newest[::-1]
    assert all(recent[key] == dict(written)[key] for key in recent)


async def test_a_ring_wakes_present_waiters_and_no_later_one() -> None:
    """A change before the wait is not waited for: who waits has looked."""
    bell, woken = Bell(), list[int]()
    bell.ring()

    async def wait(number: int) -> None:
        await bell.wait()
        woken.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(wait, number)
        await anyio.wait_all_tasks_blocked()
        assert woken == []
        bell.ring()
        await anyio.wait_all_tasks_blocked()
        assert sorted(woken) == [0, 1, 2]
        tasks.start_soon(wait, 3)
        await anyio.wait_all_tasks_blocked()
        assert len(woken) == 3
        bell.ring()
    assert woken[3:] == [3]


async def test_one_who_waits_no_more_takes_no_ring_along() -> None:
    """A wait that ends by its time leaves the others waiting for the same ring."""
    bell, woken = Bell(), list[str]()

    async def wait() -> None:
        await bell.wait()
        woken.append("woken")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0):
            await bell.wait()
        bell.ring()
    assert woken == ["woken"]
