"""Task groups that raise failures themselves, not in a group: callers catch them by kind.

A plain task group wraps each failure, the body's own error too, and a wrapped error has no kind.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from anyio.abc import TaskGroup


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
