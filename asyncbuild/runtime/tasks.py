"""Task groups that raise failures themselves, not in a group: callers catch them by kind.

A plain task group wraps each failure, the body's own error too, and a wrapped error has no kind.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

import anyio
from anyio.abc import TaskGroup

_First = TypeVar("_First")
_Second = TypeVar("_Second")
_AT_ONCE: Final = 8


@asynccontextmanager
async def open_tasks() -> AsyncIterator[TaskGroup]:
    """Own tasks that are waited for; raise the first failure, of a task or of the body.

    Further failures become notes on it.
    """
    with _first_failure():
        async with anyio.create_task_group() as tasks:
            yield tasks


@asynccontextmanager
async def open_background() -> AsyncIterator[TaskGroup]:
    """Own tasks that are cancelled when the body ends, else as `open_tasks`."""
    async with open_tasks() as tasks:
        yield tasks
        tasks.cancel_scope.cancel()


async def both(
    first: Callable[[], Awaitable[_First]], second: Callable[[], Awaitable[_Second]]
) -> tuple[_First, _Second]:
    """Make two calls side by side, and return both results.

    Raises:
        Exception: The first failure, as it is; the other call is cancelled.
    """
    results: list[_First] = []

    async def run() -> None:
        results.append(await first())

    async with open_tasks() as tasks:
        tasks.start_soon(run)
        other = await second()
    return results[0], other


async def for_each(
    call: Callable[[_First], Awaitable[_Second]], arguments: Sequence[_First]
) -> list[_Second]:
    """Call with each argument, eight at a time, and return the results in their order.

    Raises:
        Exception: The first failure, as it is; calls in progress are cancelled.
    """
    if len(arguments) == 1:  # needs no task
        return [await call(arguments[0])]
    results: dict[int, _Second] = {}
    waiting = iter(enumerate(arguments))

    async def run() -> None:
        for place, argument in waiting:
            results[place] = await call(argument)

    async with open_tasks() as tasks:
        for _ in range(min(len(arguments), _AT_ONCE)):
            tasks.start_soon(run)
    return [results[place] for place in range(len(arguments))]


@contextmanager
def _first_failure() -> Iterator[None]:
    try:
        yield
    except BaseExceptionGroup as group:
        first, *others = leaves_of(group)
    else:
        return
    for other in others:
        first.add_note(f"what failed, too: {other!r}")
    context = first.__context__
    try:
        raise first
    finally:
        first.__context__ = context  # not the group, which contains the error itself


def leaves_of(error: BaseException) -> list[BaseException]:
    """Return the failures out of nested groups; an error that is not a group is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves_of(each)]
    return [error]
