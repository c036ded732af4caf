"""Zip streams of the engine for tests."""

from collections.abc import AsyncIterator, Iterable

from asyncbuild.config import ArchiveSettings
from asyncbuild.domain.statistics import ZipStatistics
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.zip.engine import WORKING_BYTES, open_engine

PART_BYTES = 5 * 1024 * 1024


async def iterate(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield chunks as a pipe would."""
    for chunk in chunks:
        yield chunk


async def make_zip(
    tar: Iterable[bytes], *, level: int = 1, threads: int = 2, budget: MemoryBudget | None = None
) -> tuple[bytes, ZipStatistics]:
    """Return the whole archive, collected in parts as by an upload.

    No memory may be taken at the end.
    """
    budget = budget or MemoryBudget(WORKING_BYTES + PART_BYTES)
    archive = bytearray()
    collected_bytes = 0
    settings = ArchiveSettings(level=level, threads=threads)
    async with (
        open_engine(settings) as engine,
        budget.open_account(WORKING_BYTES + PART_BYTES) as account,
    ):
        async with engine.open_zip(iterate(tar), account=account) as stream:
            async for chunk in stream:
                archive += chunk
                collected_bytes += len(chunk)
                if collected_bytes >= PART_BYTES:
                    account.give_back(collected_bytes)
                    collected_bytes = 0
            account.give_back(collected_bytes)
        assert account.held_bytes == 0
    return bytes(archive), stream.statistics()
