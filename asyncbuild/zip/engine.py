"""Zip engine: turns a tar stream into a zip stream, compressed on every core, in order (I8).

One task reads the tar stream and hands its pieces to the workers (`zip/feeder.py`); iterating over
the `ZipStream` yields their results, in the order of the stream. Between the two is a queue of
pieces in work, bounded by its length and by the account's bytes (I6).
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final, Self

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from asyncbuild.config.sections import ArchiveSettings
from asyncbuild.domain.model import Account
from asyncbuild.domain.statistics import ZipStatistics
from asyncbuild.runtime.malloc import share_one_heap
from asyncbuild.runtime.tasks import open_background
from asyncbuild.zip.feeder import BLOCK_BYTES, BlockJob, Charges, Intake, Job, LargeJob, RunJob
from asyncbuild.zip.format.central_directory import CentralHeaders
from asyncbuild.zip.format.large_member import LargeEntry
from asyncbuild.zip.format.records import pack_end
from asyncbuild.zip.shared_memory import LONGEST_CHUNK_BYTES, LONGEST_RUN_BYTES
from asyncbuild.zip.spool import READ_BYTES, DirectorySpool
from asyncbuild.zip.stream import PLAIN, ZipOptions
from asyncbuild.zip.workers import Workers, open_workers

_DESCRIPTOR_BYTES: Final = 128  # part of a large member's charge, for the data descriptor

# What an account must have reserved for the engine, beyond what the consumer holds before it
# returns any: an incomplete file and a chunk to continue with, each charged twice, and a piece of
# the directory.
WORKING_BYTES: Final = 2 * (LONGEST_RUN_BYTES + LONGEST_CHUNK_BYTES) + 2 * READ_BYTES


@asynccontextmanager
async def open_engine(settings: ArchiveSettings) -> AsyncIterator["Engine"]:
    """Open the processes that compress, and one engine for all archives of this process.

    Raises:
        Busy: None can be started.
    """
    share_one_heap()
    count = settings.threads or len(os.sched_getaffinity(0))
    async with open_workers(count, settings.level) as workers:
        yield Engine(workers)


class Engine:
    """Makes zip streams from tar streams; `open_engine` makes it."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._streams = 0  # open now

    @property
    def pids(self) -> list[int]:
        """Return process ids of the compression workers."""
        return self._workers.pids

    @asynccontextmanager
    async def open_zip(
        self,
        tar: AsyncIterator[bytes],
        *,
        account: Account,
        options: ZipOptions = PLAIN,
    ) -> AsyncIterator["ZipStream"]:
        """Read `tar`, in chunks of any size, as long as the stream is open.

        On exit nothing of the stream is held any more: bytes that were not yielded are returned.

        Args:
            tar: Output of `git archive --format=tar`.
            account: Has `WORKING_BYTES` reserved, plus the bytes that its consumer holds.
            options: Contents and form of the zip stream.
        """
        self._streams += 1
        charges = Charges(account)
        intake = Intake(charges, self._workers, options.cut)
        # Together they keep the workers busy; pieces beyond that would only wait in memory.
        ahead = max(1, self._workers.slots // self._streams)
        sender, receiver = anyio.create_memory_object_stream[Job | Exception](ahead)
        try:
            async with DirectorySpool() as directory, receiver, open_background() as tasks:
                tasks.start_soon(intake.run, tar, sender)
                stream = ZipStream(intake, receiver, charges, directory, options)
                async with aclosing(stream):
                    yield stream
        finally:
            self._streams -= 1
            intake.abandon()
            charges.close()


class ZipStream:
    """Chunks of a zip file, to be iterated over once.

    The bytes of each chunk were taken from the account; the consumer returns them.

    Args:
        intake: Reads the tar stream.
        jobs: Pieces in work, in order.
        charges: Account of the stream.
        directory: Holds the central directory.
        options: Contents and form of the stream.

    Raises, while iterated over:
        BrokenTar: The tar stream is damaged or cut.
        Reject: It holds something that a zip file cannot.
        Retry: A temporary file has no room.
    """

    def __init__(
        self,
        intake: Intake,
        jobs: MemoryObjectReceiveStream[Job | Exception],
        charges: Charges,
        directory: DirectorySpool,
        options: ZipOptions,
    ) -> None:
        self._intake = intake
        self._without = options.without
        self._jobs = jobs
        self._charges = charges
        self._directory = directory
        self._blob_ids = options.blob_ids
        self._entries = 0
        self._zip_bytes = options.offset
        self._directory_bytes = 0
        self._large: LargeEntry | None = None
        self._unspent_bytes = 0  # charged for finished jobs, neither passed on nor returned
        self._chunks = self._write()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """End the iteration where it is."""
        await self._chunks.aclose()

    def statistics(self) -> ZipStatistics:
        """Return the counts of the stream so far."""
        return ZipStatistics(
            entries=self._entries,
            tar_bytes=self._intake.tar_bytes,
            zip_bytes=self._zip_bytes,
            directory_bytes=self._directory_bytes,
            commit=self._intake.commit,
        )

    async def iter_members(self) -> AsyncIterator[bytes]:
        """Yield the beginning of the archive: the members, without the directory."""
        async for job in self._jobs:
            if isinstance(job, Exception):
                raise job
            data = await self._finish(job)
            self._settle(job.charged_bytes, len(data))
            if data:
                yield data

    async def iter_headers(self) -> AsyncIterator[bytes]:
        """Yield the directory, without the records that end it; after the members."""
        async for packed in self._directory.read():
            await self._charges.take(len(packed))
            self._settle(len(packed), len(packed))
            yield packed

    async def _write(self) -> AsyncGenerator[bytes, None]:
        async for data in self.iter_members():
            yield data
        begin = self._zip_bytes
        async for packed in self.iter_headers():
            yield packed
        end = pack_end(entries=self._entries, offset=begin, nbytes=self._directory.nbytes)
        await self._charges.take(len(end))
        self._settle(len(end), len(end))
        self._directory_bytes = self._zip_bytes - begin
        yield end

    def _settle(self, charged_bytes: int, yielded_bytes: int) -> None:
        """Pass on the bytes that are yielded next, and return the rest of the charge."""
        self._zip_bytes += yielded_bytes
        self._charges.pass_on(yielded_bytes)
        kept_bytes = _DESCRIPTOR_BYTES if self._large else 0
        left_bytes = self._unspent_bytes + charged_bytes - yielded_bytes
        self._charges.give_back(left_bytes - kept_bytes)
        self._unspent_bytes = kept_bytes

    async def _finish(self, job: Job) -> bytes:
        """Wait for a job and return its bytes."""
        if isinstance(job, RunJob):
            run = await self._intake.result(job.packed)
            run = run.leave_out(self._without)
            await self._record(run.central, self._zip_bytes)
            return run.data
        if isinstance(job, LargeJob):
            self._large = LargeEntry(job.member, self._zip_bytes, block_bytes=BLOCK_BYTES)
            return self._large.head
        return await self._finish_block(job)

    async def _finish_block(self, job: BlockJob) -> bytes:
        block = await self._intake.result(job.packed)
        large = self._large
        if large is None:
            raise AssertionError("a block without its member")
        data = large.add(block.data, block.crc, job.size)
        if not job.last:
            return data
        header, descriptor = large.finish()
        self._large = None
        await self._record(CentralHeaders.of([header]), 0)
        return data + descriptor

    async def _record(self, headers: CentralHeaders, by: int) -> None:
        self._entries += len(headers)
        if self._blob_ids and (ids := await self._blob_ids.find(headers.names())):
            headers = headers.with_ids(ids)
        await self._directory.append(headers.moved(by))
