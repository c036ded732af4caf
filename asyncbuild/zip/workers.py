"""Pool of compression processes: started when they are needed, ended with the engine.

Processes, because threads would share the interpreter's lock. A member of some kilobytes takes a
thread a few microseconds in Python before deflate and a few after it, and two threads, or one and
the loop, then wait for the lock: measured, two threads took 1.5 times as long as one. Processes
share nothing but slots of memory (`zip/shared_memory.py`), so each of them has a core for itself,
and the loop has its own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Final, TypeVar

import anyio
from anyio.abc import TaskGroup

from asyncbuild.domain.errors import Busy, Retry, StageError
from asyncbuild.runtime.tasks import open_background
from asyncbuild.zip.format.central_directory import CentralHeaders
from asyncbuild.zip.format.pack import PackedBlock, PackedRun
from asyncbuild.zip.format.tar_members import Run
from asyncbuild.zip.format.tar_reader import Block
from asyncbuild.zip.future import PendingPiece
from asyncbuild.zip.shared_memory import (
    MESSAGE_BYTES,
    SlotMessage,
    SlotMessageKind,
    Slots,
    pack_columns,
    unpack_columns,
)
from asyncbuild.zip.worker_process import AnyPending, Worker, start_worker, starting

# Pieces that a worker has in flight; with one, it would wait for the loop after each. The first
# worker gets more before another is woken: as long as it keeps up, git has a core for itself.
_FIRST_IN_FLIGHT: Final = 6
_IN_FLIGHT: Final = 2
_MOST_LOSSES: Final = 3  # of workers before they began; more cannot be chance

_Packed = TypeVar("_Packed", PackedRun, PackedBlock)


def _unpack_run(message: SlotMessage, contents: bytes, more: bytes) -> PackedRun:
    (positions,) = unpack_columns(more[message.number :], 1)
    return PackedRun(contents, CentralHeaders(more[: message.number], positions))


def _unpack_block(message: SlotMessage, contents: bytes, _: bytes) -> PackedBlock:
    return PackedBlock(contents, message.number)


@asynccontextmanager
async def open_workers(count: int, level: int) -> AsyncIterator["Workers"]:
    """Open up to `count` processes that compress; the first one starts at once.

    Raises:
        Busy: A process cannot be started, or no memory can be shared with it.
    """
    with starting():
        slots = Slots.make(_slots_of(count))
    with closing(slots):
        async with open_background() as tasks:
            workers = Workers(tasks, slots, count, level)
            workers.start()
            yield workers


class Workers:
    """Pool of compression workers for all streams; `open_workers` makes it.

    Args:
        tasks: Task group that owns the processes.
        slots: Memory that is shared with them.
        count: Number of processes, at most.
        level: Level of compression.
    """

    def __init__(self, tasks: TaskGroup, slots: Slots, count: int, level: int) -> None:
        self._tasks = tasks
        self._memory = slots
        self._most = count
        self._level = level
        self._workers: list[Worker] = []
        self.slots = _slots_of(count)  # pieces in work at most
        self._free = list(range(self.slots))
        self._turn = anyio.Semaphore(len(self._free))

    @property
    def pids(self) -> list[int]:
        """Return the process ids of the running workers."""
        return [worker.child.pid for worker in self._workers]

    async def pack_run(self, run: Run) -> PendingPiece[PackedRun]:
        """Start compressing a run of members; return once it is in a slot, and its bytes may go.

        Raises:
            Busy: No process can be started.
        """
        begin = run.headers[0]
        contents = memoryview(run.data)[begin : begin + run.nbytes]
        headers = [header - begin for header in run.headers]
        more = pack_columns(headers, run.sizes)
        about = (SlotMessageKind.RUN, run.offset + begin, run.cut)
        return await self._hand_out(PendingPiece(_unpack_run), about, contents, more)

    async def pack_block(self, block: Block) -> PendingPiece[PackedBlock]:
        """Start compressing a block of a large member, as `pack_run`."""
        about = (SlotMessageKind.LAST_BLOCK if block.last else SlotMessageKind.BLOCK, 0, 0)
        return await self._hand_out(PendingPiece(_unpack_block), about, block.data)

    async def _hand_out(
        self,
        pending: PendingPiece[_Packed],
        about: tuple[SlotMessageKind, int, int],
        contents: bytes | memoryview,
        more: bytes = b"",
    ) -> PendingPiece[_Packed]:
        await self._turn.acquire()
        slot = self._free.pop()
        try:
            self._memory.fill(slot, contents, more)
            kind, number, cut = about
            self._give(SlotMessage(kind, slot, len(contents), len(more), number, cut), pending)
        except BaseException:
            self._release(slot)
            raise
        return pending

    def _give(self, message: SlotMessage, pending: AnyPending) -> None:
        while not (worker := self._choose()).take(message, pending):
            self._workers.remove(worker)  # before `_attend` has noticed its end

    def _choose(self) -> Worker:
        """Return the first worker that is not busy: caches stay warm, and few are started."""
        for number, worker in enumerate(self._workers):
            if len(worker.in_flight) < (_IN_FLIGHT if number else _FIRST_IN_FLIGHT):
                return worker
        if len(self._workers) < self._most:
            try:
                return self.start()
            except Busy:  # as many as this machine allows
                if not self._workers:
                    raise
        return min(self._workers, key=lambda worker: len(worker.in_flight))

    def start(self) -> Worker:
        """Start one more process."""
        with starting():
            worker = start_worker(self._memory, self.slots, self._level)
        self._workers.append(worker)
        self._tasks.start_soon(self._attend, worker)
        return worker

    async def _attend(self, worker: Worker) -> None:
        """Receive its messages until it ends, or is ended."""
        try:
            while await self._hear(worker):
                pass
        finally:
            with suppress(ValueError):  # `_give` may have noticed its end first
                self._workers.remove(worker)
            code = await worker.end()
        for message, pending in worker.in_flight.values():
            self._give_on(message, pending, code)

    def _give_on(self, message: SlotMessage, pending: AnyPending, code: int) -> None:
        """Give a piece to another worker, unless it may have killed the one that had it (I5)."""
        pending.losses += 1
        try:
            if self._memory.has_begun(message.slot) or pending.losses >= _MOST_LOSSES:
                raise _lost(code)
            self._give(message, pending)
        except StageError as error:
            pending.fail(error)
            self._release(message.slot)

    async def _hear(self, worker: Worker) -> bool:
        await anyio.wait_readable(worker.channel)
        try:
            packed = worker.channel.recv(MESSAGE_BYTES)
        except (BlockingIOError, ConnectionResetError):
            return True  # a reset is reported once, before earlier messages, still readable
        if packed:
            message = SlotMessage.unpack(packed)
            _, pending = worker.in_flight.pop(message.slot)
            pending.finish(message, self._memory)
            self._release(message.slot)
        return bool(packed)

    def _release(self, slot: int) -> None:
        self._free.append(slot)
        self._turn.release()


def _slots_of(count: int) -> int:
    """Return the number of slots for `count` workers, and one to be filled meanwhile."""
    return _FIRST_IN_FLIGHT + _IN_FLIGHT * (count - 1) + 1


def _lost(code: int) -> Retry:
    """Return the error for the work of a process that ended by itself."""
    if code < 0:
        ended, remedy = f"was killed by signal {-code}", "give the task more memory if that goes on"
    else:
        ended, remedy = f"exited with {code}", "read why on standard error"
    return Retry(f"A process that compresses {ended} in the middle of its work", remedy=remedy)
