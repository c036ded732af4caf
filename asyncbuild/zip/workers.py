"""The processes that compress: started when they are needed, ended with the engine.

Not threads. A member of some kilobytes takes a thread a few microseconds in Python before deflate
and a few behind it, and two threads, or one and the loop, then take the interpreter's lock from
each other: measured, two took half as long again as one. Processes share nothing but slots of
memory (`zip/shared_memory.py`), so each of them has a core for itself, and the loop has its own.
"""

import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import Final, TypeVar

import anyio
from anyio.abc import TaskGroup

from asyncbuild.domain.errors import Busy, Retry, StageError
from asyncbuild.runtime.child import Child, ChildFiles
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

_MODULE: Final = "asyncbuild.zip.worker"
# Pieces that a worker has in flight; with one, it would wait for the loop after each. The first has
# more of them before another is woken: as long as it keeps up, git has a core for itself.
_IN_FIRST_HAND: Final = 6
_IN_HAND: Final = 2
_MOST_LOSSES: Final = 3  # of workers before they began; then it is not a chance
_END_SECONDS: Final = 5.0  # for the piece in flight, before it is killed
_ENVIRONMENT: Final = (  # what a Python needs to start as this one did, and no secret (I10)
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
)

_Packed = TypeVar("_Packed", PackedRun, PackedBlock)


def _unpack_run(message: SlotMessage, contents: bytes, more: bytes) -> PackedRun:
    (positions,) = unpack_columns(more[message.number :], 1)
    return PackedRun(contents, CentralHeaders(more[: message.number], positions))


def _unpack_block(message: SlotMessage, contents: bytes, _: bytes) -> PackedBlock:
    return PackedBlock(contents, message.number)


_AnyPending = PendingPiece[PackedRun] | PendingPiece[PackedBlock]


@dataclass(eq=False, slots=True)
class _Worker:
    """One process, our end of its socket, and by slot what it has in flight."""

    child: Child
    channel: socket.socket
    in_hand: dict[int, tuple[SlotMessage, _AnyPending]] = field(default_factory=dict)

    def take(self, message: SlotMessage, pending: _AnyPending) -> bool:
        """Give it a piece more; False if it has ended.

        Raises:
            Busy: Its socket holds no more messages.
        """
        try:
            self.channel.send(message.pack())
        except ConnectionError:
            return False
        except BlockingIOError as error:
            raise Busy(
                f"A process that compresses has {len(self.in_hand)} pieces of work in hand already",
                remedy="allow as many processes as archive.threads says",
            ) from error
        self.in_hand[message.slot] = message, pending
        return True

    async def end(self) -> int:
        """Let it end, and make it; returns its exit code."""
        self.channel.close()
        with anyio.CancelScope(shield=True), closing(self.child):
            with anyio.move_on_after(_END_SECONDS):
                await self.child.wait()
            if self.child.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(self.child.pid, SIGKILL)
            await self.child.wait()
        return self.child.returncode or 0


@asynccontextmanager
async def open_workers(count: int, level: int) -> AsyncIterator["Workers"]:
    """Own up to `count` processes that compress; the first one starts at once.

    Raises:
        Busy: No process can be started, or there is no memory to share with it.
    """
    with _starting():
        slots = Slots.make(_slots_of(count))
    with closing(slots):
        async with open_background() as tasks:
            workers = Workers(tasks, slots, count, level)
            workers.start()
            yield workers


class Workers:
    """Takes pieces of work from all streams, in turn; `open_workers` makes it."""

    def __init__(self, tasks: TaskGroup, slots: Slots, count: int, level: int) -> None:
        self._tasks = tasks
        self._memory = slots
        self._most = count
        self._level = level
        self._workers: list[_Worker] = []
        self.slots = _slots_of(count)  # pieces in work at most
        self._free = list(range(self.slots))
        self._turn = anyio.Semaphore(len(self._free))

    @property
    def pids(self) -> list[int]:
        """Of the processes that there are now."""
        return [worker.child.pid for worker in self._workers]

    async def pack_run(self, run: Run) -> PendingPiece[PackedRun]:
        """Have a run of members compressed; waits until it is in a slot, and its bytes can go.

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
        """Have a block of a large member compressed, as `pack_run`."""
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

    def _give(self, message: SlotMessage, pending: _AnyPending) -> None:
        while not (worker := self._choose()).take(message, pending):
            self._workers.remove(worker)  # before `_attend` has seen that it ended

    def _choose(self) -> _Worker:
        """The first that is not busy: caches stay warm, and no more start than are needed."""
        for number, worker in enumerate(self._workers):
            if len(worker.in_hand) < (_IN_HAND if number else _IN_FIRST_HAND):
                return worker
        if len(self._workers) < self._most:
            try:
                return self.start()
            except Busy:  # as many as this machine allows, then
                if not self._workers:
                    raise
        return min(self._workers, key=lambda worker: len(worker.in_hand))

    def start(self) -> _Worker:
        """One process more."""
        with _starting():
            worker = _start(self._memory, self._most, self._level)
        self._workers.append(worker)
        self._tasks.start_soon(self._attend, worker)
        return worker

    async def _attend(self, worker: _Worker) -> None:
        """Hear what it says until it ends, or is ended."""
        try:
            while await self._hear(worker):
                pass
        finally:
            with suppress(ValueError):  # `_give` may have seen its end first
                self._workers.remove(worker)
            code = await worker.end()
        for message, pending in worker.in_hand.values():
            self._give_on(message, pending, code)

    def _give_on(self, message: SlotMessage, pending: _AnyPending, code: int) -> None:
        """Let another worker have it, unless it may be why the one that had it is gone (I5)."""
        pending.losses += 1
        try:
            if self._memory.has_begun(message.slot) or pending.losses >= _MOST_LOSSES:
                raise _lost(code)
            self._give(message, pending)
        except StageError as error:
            pending.fail(error)
            self._release(message.slot)

    async def _hear(self, worker: _Worker) -> bool:
        await anyio.wait_readable(worker.channel)
        try:
            packed = worker.channel.recv(MESSAGE_BYTES)
        except (BlockingIOError, ConnectionResetError):
            return True  # a reset is said once, and before what it had sent: that is still there
        if packed:
            message = SlotMessage.unpack(packed)
            _, pending = worker.in_hand.pop(message.slot)
            pending.finish(message, self._memory)
            self._release(message.slot)
        return bool(packed)

    def _release(self, slot: int) -> None:
        self._free.append(slot)
        self._turn.release()


def _slots_of(count: int) -> int:
    """Enough for `count` workers, and one to be filled meanwhile."""
    return _IN_FIRST_HAND + _IN_HAND * (count - 1) + 1


def _start(slots: Slots, most: int, level: int) -> _Worker:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as undo, theirs, Path(os.devnull).open("r+b", buffering=0) as null:
        undo.callback(ours.close)
        ours.setblocking(False)  # noqa: FBT003 - no other way to say it
        numbers = (theirs.fileno(), slots.descriptor, _slots_of(most), level)
        child = Child(
            [os.fsencode(part) for part in (sys.executable, "-P", "-m", _MODULE)]
            + [b"%d" % number for number in numbers],
            _environment(),
            ChildFiles(
                stdin=null.fileno(),
                stdout=null.fileno(),
                stderr=sys.__stderr__.fileno() if sys.__stderr__ else null.fileno(),
                others=(theirs.fileno(), slots.descriptor),
            ),
            program=_python(),
        )
        undo.pop_all()
    return _Worker(child, ours)


def _python() -> str:
    """The interpreter that runs this, also where its name leads nowhere any more.

    It may have been replaced meanwhile, or lie where only whoever started us may go.
    """
    return sys.executable if os.access(sys.executable, os.X_OK) else "/proc/self/exe"


def _environment() -> dict[str, str]:
    """What it needs to import what we did, from where we did."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # noqa: PTH109 - what sys.path means by it


def _lost(code: int) -> Retry:
    """What a process that ended by itself means for what it had in flight."""
    if code < 0:
        ended, remedy = f"was killed by signal {-code}", "give the task more memory if that goes on"
    else:
        ended, remedy = f"exited with {code}", "read why on standard error"
    return Retry(f"A process that compresses {ended} in the middle of its work", remedy=remedy)


@contextmanager
def _starting() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Busy(
            f"A process that compresses cannot be started: {error.strerror or error}",
            remedy="allow more processes, more open files or more memory",
        ) from error
