"""Task groups that raise a failure itself rather than a group of it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from support.wait import PATIENCE_SECONDS

from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.runtime import tasks as module
from asyncbuild.runtime.tasks import for_each, open_background, open_tasks

Opener = Callable[[], AbstractAsyncContextManager[TaskGroup]]
both = pytest.mark.parametrize("open_group", [open_tasks, open_background])


async def _run(open_group: Opener, body: Callable[[TaskGroup], Awaitable[None]]) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with open_group() as tasks:
            await body(tasks)


async def _refuse() -> None:
    raise Reject("refused by a task")


@both
async def test_the_error_of_the_body_keeps_its_cause(open_group: Opener) -> None:
    """The error is raised unchanged, not in a group."""
    cause = ValueError("why")

    async def body(_: TaskGroup) -> None:
        raise Retry("by the body") from cause

    with pytest.raises(Retry) as caught:
        await _run(open_group, body)
    assert caught.value.__cause__ is cause


@both
async def test_the_error_of_a_task_ends_the_body(open_group: Opener) -> None:
    """The task's error is raised."""
    ended: list[bool] = []

    async def body(tasks: TaskGroup) -> None:
        tasks.start_soon(_refuse)
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    with pytest.raises(Reject, match="by a task"):
        await _run(open_group, body)
    assert ended


@both
async def test_an_error_is_found_in_groups_of_groups(open_group: Opener) -> None:
    """A task may have a plain task group of its own."""

    async def nested() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_refuse)

    async def body(tasks: TaskGroup) -> None:
        tasks.start_soon(nested)
        await anyio.sleep_forever()

    with pytest.raises(Reject):
        await _run(open_group, body)


@both
async def test_the_first_of_several_errors_is_raised(open_group: Opener) -> None:
    """A task that fails because it is cancelled is not the cause."""

    async def fail_while_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise Retry("because the other one did")

    async def body(tasks: TaskGroup) -> None:
        tasks.start_soon(fail_while_cancelled)
        await anyio.lowlevel.checkpoint()
        raise Reject("first")

    with pytest.raises(Reject) as caught:
        await _run(open_group, body)
    (note,) = caught.value.__notes__
    assert "because the other one did" in note


@both
async def test_an_error_keeps_its_context(open_group: Opener) -> None:
    """The log shows the original error rather than the task group, which says nothing."""

    async def body(_: TaskGroup) -> None:
        try:
            int("before")
        except ValueError:
            raise Retry("after")  # noqa: B904 - what Python notes by itself

    with pytest.raises(Retry) as caught:
        await _run(open_group, body)
    assert isinstance(caught.value.__context__, ValueError)


@both
async def test_cancellation_is_not_a_failure(open_group: Opener) -> None:
    """Cancellation is raised to the scope that cancelled."""
    with anyio.fail_after(PATIENCE_SECONDS), anyio.CancelScope() as scope:
        async with open_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def test_tasks_are_awaited() -> None:
    """The body may end before them."""
    done: list[bool] = []

    async def work() -> None:
        await anyio.lowlevel.checkpoint()
        done.append(True)

    async def body(tasks: TaskGroup) -> None:
        tasks.start_soon(work)

    await _run(open_tasks, body)
    assert done


async def test_background_tasks_end_with_the_body() -> None:
    """The body waits only until their cancellation is done."""
    ended: list[bool] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async def body(tasks: TaskGroup) -> None:
        tasks.start_soon(work)
        await anyio.lowlevel.checkpoint()

    await _run(open_background, body)
    assert ended


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 30])
async def test_calls_side_by_side_are_answered_in_order(count: int) -> None:
    """At most eight run at once, whatever order they end in."""
    now = most = 0

    async def call(number: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(count - number):
            await anyio.lowlevel.checkpoint()
        now -= 1
        return -number

    with anyio.fail_after(PATIENCE_SECONDS):
        assert await for_each(call, range(count)) == [-number for number in range(count)]
    assert most == min(count, 8)


@pytest.mark.parametrize("count", [1, 2, 30])
async def test_a_failed_call_is_raised_itself_and_ends_the_others(count: int) -> None:
    """The lane classifies the error; a group of errors has no kind."""
    ended: list[int] = []

    async def call(number: int) -> int:
        if number == count - 1:
            raise Retry("one")
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(number)
        return number

    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(Retry, match="one"):
        await for_each(call, [count - 1, *range(count - 1)])


@pytest.mark.parametrize("failing", [0, 1])
async def test_one_of_two_calls_fails(failing: int) -> None:
    """The error is raised itself, and the other one is cancelled."""

    async def fail() -> int:
        raise Reject("one")

    async def hang() -> int:
        await anyio.sleep_forever()
        return 0

    calls = (fail, hang) if failing == 0 else (hang, fail)
    with anyio.fail_after(PATIENCE_SECONDS), pytest.raises(Reject, match="one"):
        await module.both(*calls)


async def test_both_results_are_returned() -> None:
    """In their order."""

    async def one() -> int:
        return 1

    async def two() -> str:
        return "2"

    with anyio.fail_after(PATIENCE_SECONDS):
        assert await module.both(one, two) == (1, "2")
