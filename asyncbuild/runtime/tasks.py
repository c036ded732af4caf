"""Task groups whose failures travel as themselves, so that they are caught by their kind.

A plain task group wraps what fails, the body's own error too, and a wrapped error is of no kind.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def open_tasks() -> AsyncIterator[TaskGroup]:
    """Own tasks that are waited for. What fails first, one of them or the body, is raised.

    If more fails, it has notes that say what.
    """
    with _first_failure():
        async with anyio.create_task_group() as tasks:
            yield tasks


@asynccontextmanager
async def open_background() -> AsyncIterator[TaskGroup]:
    """Own tasks that end with the body, else as `open_tasks`."""
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
        first.__context__ = context  # not the group, which has it in it


def leaves_of(error: BaseException) -> list[BaseException]:
    """What failed, out of groups of groups; an error that is no group is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves_of(each)]
    return [error]
