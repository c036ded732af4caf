"""Consumers: N long-lived workers on asyncio-pool that prepare one push at a time each.

Only this module uses asyncio-pool. Its `spawn()` on a full pool swallows cancellation, and failures
stay in its futures. So exactly N workers are spawned at once into a pool of N, each ends when it is
told to, and an exception of one ends the owner's task group.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from asyncio_pool import AioPool

from asyncbuild.queue.lane.round_robin import Turns
from asyncbuild.runtime.bell import Bell

_SPARE_OF = 4  # one of this many consumers is left to lanes with nothing in flight


class Job:
    """One preparation: a cancellable call that a consumer runs.

    Args:
        lane: Name of its lane; jobs of one lane keep their order.
        run: The call.
        forge: Forge whose server it needs; empty for none.
    """

    def __init__(
        self, lane: object, run: Callable[[], Awaitable[None]], *, forge: str = ""
    ) -> None:
        self.lane = lane
        self.forge = forge
        self.began = False
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self._run = run

    async def run(self) -> None:
        """Run the call; cancelling the job's scope ends the call and raises nothing here."""
        self.began = True
        try:
            with self.scope:
                await self._run()
        finally:
            self.ended.set()


@dataclass(frozen=True, slots=True)
class ConsumerStatistics:
    """Use of the consumers: `waiting` jobs have no consumer yet; `free` consumers have no job."""

    consumers: int
    free: int
    waiting: int


class WorkerPool:
    """Gives jobs to N workers, lane by lane in turns (`queue/lane/round_robin.py`).

    Args:
        count: Number of workers.
        forges: Number of forges.
        reserve: Workers that each forge has for itself, as far as there are enough.
    """

    def __init__(self, count: int, *, forges: int = 1, reserve: int = 0) -> None:
        self._count = count
        self._free = count
        self._turns: Turns[Job] = Turns(
            count, forges=forges, reserve=reserve, spare=count // _SPARE_OF
        )
        self._changed = Bell()
        self._closed = False
        self._failure: BaseException | None = None

    def submit(self, job: Job) -> None:
        """Let `job` wait for a free consumer."""
        self._turns.add(job.lane, job, job.forge)
        self._changed.ring()

    def cancel(self, job: Job) -> bool:
        """Cancel a job; return True if it had not begun and never will."""
        if self._turns.remove(job.lane, job):
            job.ended.set()
            self._changed.ring()
            return True
        job.scope.cancel()
        return False

    def statistics(self) -> ConsumerStatistics:
        """Return how busy the consumers are now."""
        return ConsumerStatistics(self._count, self._free, len(self._turns))

    def is_held_back(self, job: Job) -> bool:
        """Return whether a job waits because the free consumers are reserved for other forges."""
        return not job.began and self._turns.is_full(job.forge)

    async def wait_free(self) -> None:
        """Wait until there is a consumer that no waiting job would get."""
        while self._free <= self._turns.count_ready():
            await self._changed.wait()

    async def _work(self) -> None:
        while not self._closed:
            taken = self._turns.take()
            if taken is None:
                await self._changed.wait()
                continue
            lane, job, forge = taken
            self._free -= 1
            try:
                await job.run()
            finally:
                self._free += 1
                self._turns.done(lane, forge)
                self._changed.ring()

    async def _work_or_tell(self) -> None:
        try:
            await self._work()
        except Exception as error:  # noqa: BLE001 - the owner raises it; the pool would keep it
            self._failure = error
            self._changed.ring()

    async def _watch(self) -> None:
        while not self._closed:
            if self._failure is not None:
                raise self._failure
            await self._changed.wait()

    def _close(self) -> None:
        self._closed = True
        self._changed.ring()


@asynccontextmanager
async def open_consumers(
    count: int, *, forges: int = 1, reserve: int = 0
) -> AsyncIterator[WorkerPool]:
    """Spawn `count` consumers, which end with the block, each after the job in flight.

    Args:
        count: Number of consumers.
        forges: Number of forges.
        reserve: Consumers that each forge has for itself, as far as there are enough.
    """
    consumers = WorkerPool(count, forges=forges, reserve=reserve)
    pool = AioPool(size=count)
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                await pool.spawn(consumers._work_or_tell())  # noqa: SLF001 - private to this module
            tasks.start_soon(consumers._watch)  # noqa: SLF001 - the same
            yield consumers
            consumers._close()  # noqa: SLF001 - the same
    except BaseException:
        with anyio.CancelScope(shield=True):
            await pool.cancel()
        raise
    finally:
        consumers._close()  # noqa: SLF001 - the same
        with anyio.CancelScope(shield=True):
            await pool.join()
