"""The engine, from tar stream to zip stream, within its budget."""

import io
import os
import random
import zipfile
from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tars import COMMIT, File, make_tar
from support.wait import PATIENCE_SECONDS
from support.zips import iterate, make_zip

from asyncbuild.config import ArchiveSettings
from asyncbuild.domain.errors import Reject
from asyncbuild.runtime.memory_budget import MemoryAccount, MemoryBudget
from asyncbuild.zip.engine import WORKING_BYTES, Engine, open_engine
from asyncbuild.zip.feeder import BLOCK_BYTES
from asyncbuild.zip.format.tar_headers import BrokenTar
from asyncbuild.zip.shared_memory import WHOLE_BYTES

_MIB = 1024 * 1024


def _text(size: int, seed: int = 1) -> bytes:
    words = [b"alpha ", b"beta\n", b"gamma(", b"delta)", b"\t\tepsilon", b"_zeta = "]
    source = random.Random(seed)  # noqa: S311 - contents of a test
    return b"".join(source.choices(words, k=size // 5 + 1))[:size]


def _noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - contents of a test


def _mixed_tree() -> list[File]:
    """Return small and large files, compressible and not, around every limit."""
    sizes = [0, 1, 511, 512, 513, WHOLE_BYTES - 1, WHOLE_BYTES, WHOLE_BYTES + 1]
    sizes += [WHOLE_BYTES + BLOCK_BYTES, 3 * BLOCK_BYTES + 1]
    files = [File(b"d/", mode=0o775)]
    files += [File(b"d/text-%d" % size, _text(size)) for size in sizes]
    files += [File(b"d/noise-%d" % size, _noise(size), mode=0o775) for size in sizes]
    files += [File(b"s/%04d" % number, _text(number, number)) for number in range(1500)]
    return [*files, File(b"z-link", mode=0o777, target=b"d/text-1")]


def _check_contents(archive: bytes, files: list[File]) -> None:
    reader = zipfile.ZipFile(io.BytesIO(archive))
    assert reader.testzip() is None
    for file, info in zip(files, reader.infolist(), strict=True):
        content = file.content if file.target is None else file.target
        assert reader.read(info) == content
        assert info.external_attr >> 16 & 0o7777 == file.mode


async def test_a_mixed_tree() -> None:
    """All entries are there, in order, with modes; statistics agree."""
    files = _mixed_tree()
    tar = make_tar(files)
    archive, statistics = await make_zip([tar])
    _check_contents(archive, files)
    assert len(files) == statistics.entries
    assert (len(tar), len(archive)) == (statistics.tar_bytes, statistics.zip_bytes)
    assert statistics.commit == COMMIT


async def test_threads_and_chunks_do_not_change_the_bytes() -> None:
    """Nor does it matter what a worker process compressed before (I8)."""
    tar = make_tar(_mixed_tree())
    expected, _ = await make_zip([tar], threads=1)
    for threads, size in ((1, 10_240), (2, 100_000), (4, 1_300_001), (3, 333_333)):
        chunks = [tar[begin : begin + size] for begin in range(0, len(tar), size)]
        archive, _ = await make_zip(chunks, threads=threads)
        assert archive == expected, (threads, size)


@pytest.mark.parametrize("level", [0, 2, 6, 9])
async def test_every_level(level: int) -> None:
    """Level 0 stores, the others compress; all can be read."""
    files = [
        File(b"small", _text(3000)),
        File(b"large", _text(WHOLE_BYTES + 5)),
        File(b"noise", _noise(WHOLE_BYTES + 5)),
    ]
    archive, _ = await make_zip([make_tar(files)], level=level)
    _check_contents(archive, files)
    small, large, _ = zipfile.ZipFile(io.BytesIO(archive)).infolist()
    assert (small.compress_size < 3000) == (level > 0)
    assert (large.compress_size < WHOLE_BYTES) == (level > 0)
    assert (small.flag_bits & 8, large.flag_bits & 8) == (0, 8)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from([0, 1, 100, 700, 5000, WHOLE_BYTES + 1]), max_size=12),
    st.lists(st.integers(1, 400_000), max_size=8),
    st.integers(1, 3),
)
def test_any_tree_in_any_chunks(sizes: list[int], cuts: list[int], threads: int) -> None:
    """Hypothesis finds no tree and no way to cut it that is not read back equal."""
    files = [File(b"%d" % number, _text(size, number)) for number, size in enumerate(sizes)]
    tar = make_tar(files)
    chunks = []
    for cut in cuts:
        chunks.append(tar[:cut])
        tar = tar[cut:]
    archive, _ = anyio.run(_zip_of, [*chunks, tar], threads)
    _check_contents(archive, files)


async def _zip_of(chunks: list[bytes], threads: int) -> tuple[bytes, object]:
    return await make_zip(chunks, threads=threads)


async def test_a_stream_cut_anywhere_is_an_error() -> None:
    """A thousand cuts are tried; the budget is free afterwards."""
    files = [File(b"%03d" % number, _text(40 * number, number)) for number in range(100)]
    tar = make_tar([*files, File(b"large", _text(WHOLE_BYTES + 100))])
    source = random.Random(7)  # noqa: S311 - examples
    budget = MemoryBudget(2 * WORKING_BYTES)
    async with (
        open_engine(ArchiveSettings(threads=2)) as engine,
        budget.open_account(2 * WORKING_BYTES) as account,
    ):
        for _ in range(1000):
            with pytest.raises(BrokenTar):
                await _drain(engine, iterate([tar[: source.randrange(len(tar))]]), account)
            assert account.held_bytes == 0


async def _drain(engine: Engine, tar: AsyncIterator[bytes], account: MemoryAccount) -> None:
    async with engine.open_zip(tar, account=account) as stream:
        async for chunk in stream:
            account.give_back(len(chunk))


@pytest.mark.parametrize("after", range(12))
async def test_cancellation_leaves_nothing(after: int) -> None:
    """A reader may stop after any chunk: no byte stays taken and no process works."""
    tar = make_tar(_mixed_tree())
    budget = MemoryBudget(4 * WORKING_BYTES)
    async with (
        open_engine(ArchiveSettings(threads=2)) as engine,
        budget.open_account(4 * WORKING_BYTES) as account,
    ):
        taken, pids = 0, engine.pids
        with anyio.CancelScope() as scope:
            async with engine.open_zip(iterate([tar]), account=account) as stream:
                for _ in range(after):
                    taken += len(await anext(stream))
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert taken == account.held_bytes
        account.give_back(taken)
    assert budget.statistics().held_bytes == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_failing_source_fails_the_stream() -> None:
    """Errors of git's reader are raised unchanged, after the bytes before them."""

    async def failing() -> AsyncIterator[bytes]:
        yield make_tar([File(b"a", _text(400_000))])[:300_000]
        raise Reject("git said no")

    budget = MemoryBudget(WORKING_BYTES)
    async with (
        open_engine(ArchiveSettings()) as engine,
        budget.open_account(WORKING_BYTES) as account,
    ):
        with pytest.raises(Reject, match="git said no"):
            await _drain(engine, failing(), account)
        assert account.held_bytes == 0


async def test_a_long_directory_goes_through_a_file() -> None:
    """The central directory of many entries is not kept in memory, and is read back whole."""
    files = [File(b"%060d" % number) for number in range(12_000)]
    archive, statistics = await make_zip([make_tar(files)])
    assert statistics.directory_bytes > _MIB
    names = zipfile.ZipFile(io.BytesIO(archive)).namelist()
    assert [file.name.decode() for file in files] == names


async def test_eight_archives_share_a_budget_for_one() -> None:
    """Archives wait for each other and all end."""
    tar = make_tar(_mixed_tree())
    expected, _ = await make_zip([tar])
    budget = MemoryBudget(WORKING_BYTES + 6 * _MIB)
    archives: list[bytes] = []

    async def one() -> None:
        archives.append((await make_zip([tar], budget=budget))[0])

    with anyio.fail_after(2 * PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(one)
    assert [expected] * 8 == archives
