"""Task groups whose failures travel as themselves, so that they are caught by their kind.

A plain task group wraps what fails, the body's own error too, and a wrapped error is of no kind.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def open_tasks() -> AsyncIterator[TaskGroup]:
    """Own tasks that are waited for. What fails first, one of them or the body, is raised."""
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
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from error.__cause__
