"""Consumers of all queues of the service, side by side, and the order in which they end."""

from collections.abc import Sequence
from typing import Protocol

import anyio
from anyio.abc import TaskStatus

from asyncbuild.queue.consumer import Consumer
from asyncbuild.runtime.tasks import open_tasks


class Drainable(Protocol):
    """Consumers of a queue beside that of pushes."""

    async def run(self) -> None:
        """Consume until told to end."""

    def stop(self) -> None:
        """Receive no more, and settle what is in flight."""

    def drain(self) -> None:
        """End when the queue is empty."""


async def consume_all(
    before: Sequence[Drainable], consumer: Consumer, after: Sequence[Drainable], *, drain: bool
) -> None:
    """Consume pushes, and the other queues beside them; a drain ends when all are empty.

    Args:
        before: Consumers of queues that fill the queue of pushes.
        consumer: Consumers of the queue of pushes.
        after: Consumers of queues that pushes fill, in the order in which they fill each other.
        drain: End when there is nothing left to do.
    """
    async with open_tasks() as tasks:
        sources = [(each, await tasks.start(_run_until_end, each)) for each in before]
        ended = [(each, await tasks.start(_run_until_end, each)) for each in after]
        if drain:
            await _end(sources, drain=True)
        await consumer.run(drain=drain)
        await _end([*sources, *ended], drain=drain)


async def _end(consumers: Sequence[tuple[Drainable, anyio.Event]], *, drain: bool) -> None:
    for each, end in consumers:
        if drain:  # each queue may fill the next one until it is empty
            each.drain()
            await end.wait()
        else:
            each.stop()


async def _run_until_end(consumers: Drainable, *, task_status: TaskStatus[anyio.Event]) -> None:
    end = anyio.Event()
    task_status.started(end)
    await consumers.run()
    end.set()
