"""Feeder: reads chunks of tar, pays for their memory, cuts them and submits them to the workers."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeVar

from anyio.streams.memory import MemoryObjectSendStream

from asyncbuild.config.sections import MIB
from asyncbuild.domain.model import Account
from asyncbuild.zip.format.pack import PackedBlock, PackedRun
from asyncbuild.zip.format.tar_reader import Block, LargeMember, Piece, TarReader
from asyncbuild.zip.future import PendingPiece
from asyncbuild.zip.shared_memory import LONGEST_CHUNK_BYTES, WHOLE_BYTES
from asyncbuild.zip.workers import Workers

BLOCK_BYTES: Final = MIB // 2  # files longer than WHOLE_BYTES are compressed in blocks of this size
_WORTH_BYTES: Final = MIB // 4  # chunks are joined until they are worth a message to a worker
_CHUNK_BYTES: Final = LONGEST_CHUNK_BYTES - _WORTH_BYTES  # longer chunks are cut


@dataclass(frozen=True, slots=True)
class RunJob:
    """A run of members being compressed; `charged_bytes` are settled when it is done."""

    packed: PendingPiece[PackedRun]
    charged_bytes: int


@dataclass(frozen=True, slots=True)
class LargeJob:
    """The beginning of a large member, which has nothing to compress yet."""

    member: LargeMember
    charged_bytes: int


@dataclass(frozen=True, slots=True)
class BlockJob:
    """A block of the last large member being compressed."""

    packed: PendingPiece[PackedBlock]
    size: int
    last: bool
    charged_bytes: int


_Packed = TypeVar("_Packed", PackedRun, PackedBlock)
Job = RunJob | LargeJob | BlockJob


class Charges:
    """Bytes that the engine has taken from an account and not yet passed on or returned."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._held_bytes = 0

    async def take(self, nbytes: int) -> None:
        """Wait until the account has `nbytes`."""
        await self._account.take(nbytes)
        self._held_bytes += nbytes

    def pass_on(self, nbytes: int) -> None:
        """Leave `nbytes` to the consumer, which returns them to the account."""
        self._held_bytes -= nbytes

    def give_back(self, nbytes: int) -> None:
        """Return `nbytes` to the account."""
        self._held_bytes -= nbytes
        self._account.give_back(nbytes)

    def close(self) -> None:
        """Return all bytes that are still held to the account."""
        self.give_back(self._held_bytes)


class Intake:
    """Reader of one tar stream; charges every byte twice: for itself, and for its output.

    The output can exceed that only for members that are little more than a long name: they take at
    most twice as much.

    Args:
        charges: Account of the stream.
        workers: Compression processes.
        cut: Bytes to remove from the beginning of each name.
    """

    def __init__(self, charges: Charges, workers: Workers, cut: int) -> None:
        self._charges = charges
        self._workers = workers
        self._reader = TarReader(whole_bytes=WHOLE_BYTES, block_bytes=BLOCK_BYTES, cut=cut)
        self._unfinished: set[PendingPiece[PackedRun] | PendingPiece[PackedBlock]] = set()
        self.tar_bytes = 0

    @property
    def commit(self) -> str | None:
        """The commit id of the global header, once it was read."""
        return self._reader.commit

    async def run(
        self, tar: AsyncIterator[bytes], jobs: MemoryObjectSendStream[Job | Exception]
    ) -> None:
        """Read to the end; send an error behind the jobs, so that it is raised in its turn."""
        async with jobs:
            try:
                await self._read(tar, jobs)
            except Exception as error:  # noqa: BLE001 - the reader of the zip stream raises it
                await jobs.send(error)

    async def result(self, packed: PendingPiece[_Packed]) -> _Packed:
        """Wait for a worker's result; raise the worker's error."""
        result = await packed.wait()
        self._unfinished.discard(packed)
        return result

    def abandon(self) -> None:
        """Discard the results of all work that was not waited for."""
        for packed in self._unfinished:
            packed.abandon()

    async def _read(
        self, tar: AsyncIterator[bytes], jobs: MemoryObjectSendStream[Job | Exception]
    ) -> None:
        async with aclosing(_join_and_cut(tar)) as chunks:
            await self._read_chunks(chunks, jobs)
        self._reader.finish()

    async def _read_chunks(
        self, chunks: AsyncIterator[bytes], jobs: MemoryObjectSendStream[Job | Exception]
    ) -> None:
        paid_bytes = 0  # taken from the account, not spent yet
        while True:
            missing_bytes = 2 * LONGEST_CHUNK_BYTES - paid_bytes
            await self._charges.take(missing_bytes)
            paid_bytes += missing_bytes
            chunk = await anext(chunks, b"")
            if not chunk:
                break
            self.tar_bytes += len(chunk)
            fed_bytes = self._reader.held_bytes + len(chunk)
            for piece in self._reader.feed(chunk):
                job = await self._submit(piece)
                fed_bytes -= piece.nbytes
                del piece  # see `del chunk` below
                await jobs.send(job)
                del job
            padding_bytes = fed_bytes - self._reader.held_bytes
            paid_bytes -= 2 * (len(chunk) - padding_bytes)
            del chunk  # else it would be held, unpaid, while the next one is awaited (I6)
        self._charges.give_back(paid_bytes)

    async def _submit(self, piece: Piece) -> Job:
        charged_bytes = 2 * piece.nbytes
        if isinstance(piece, LargeMember):
            return LargeJob(piece, charged_bytes)
        if isinstance(piece, Block):
            block = await self._workers.pack_block(piece)
            self._unfinished.add(block)
            return BlockJob(block, len(piece.data), piece.last, charged_bytes)
        run = await self._workers.pack_run(piece)
        self._unfinished.add(run)
        return RunJob(run, charged_bytes)


async def _join_and_cut(tar: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield chunks of at least `_WORTH_BYTES`, except the last, and at most `LONGEST_CHUNK_BYTES`.

    No chunk is referenced here while the consumer works on it: a chunk is paid for once, so it may
    be held once (I6).
    """
    held: list[bytes] = []
    held_bytes = 0
    async for data in tar:
        slices = [data[begin : begin + _CHUNK_BYTES] for begin in range(0, len(data), _CHUNK_BYTES)]
        del data
        slices.reverse()
        while slices:
            held.append(slices.pop())
            held_bytes += len(held[-1])
            if held_bytes >= _WORTH_BYTES:
                held_bytes = 0
                yield _pop_all(held)
    if held:
        yield _pop_all(held)


def _pop_all(pieces: list[bytes]) -> bytes:
    joined = b"".join(pieces)
    pieces.clear()
    return joined
