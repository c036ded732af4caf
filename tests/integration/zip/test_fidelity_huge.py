"""Members and archives beyond 4 GiB, for real. Takes minutes and 5 GB of disk: `make test-huge`."""

import hashlib
import os
import subprocess
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.stacks import ROOT
from support.tars import make_header

from asyncbuild.config import ArchiveSettings
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.zip.engine import WORKING_BYTES, open_engine

pytestmark = [pytest.mark.huge, pytest.mark.timeout(1500)]

_MIB = 1024 * 1024
_MEMBER_BYTES = 4097 * _MIB + 1
_NOISE = os.urandom(_MIB)


async def _tar() -> AsyncIterator[bytes]:
    """Yield a huge member that cannot be compressed, and a small one behind it, beyond 4 GiB."""
    yield make_header(b"huge", size=_MEMBER_BYTES)
    for _ in range(_MEMBER_BYTES // _MIB):
        yield _NOISE
    yield b"!".ljust(512, b"\0")
    yield make_header(b"small", size=5) + b"small".ljust(512, b"\0")
    written = 512 + _MEMBER_BYTES + 511 + 1024
    yield bytes(1024 + -(written + 1024) % 10_240)


@pytest.fixture(scope="module")
async def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one archive of more than 4 GiB."""
    path = tmp_path_factory.mktemp("huge") / "huge.zip"
    budget = MemoryBudget(2 * WORKING_BYTES)
    with path.open("wb") as file:
        async with (
            open_engine(ArchiveSettings()) as engine,
            budget.open_account(WORKING_BYTES) as account,
            engine.open_zip(_tar(), account=account) as stream,
        ):
            async for chunk in stream:
                file.write(chunk)
                account.give_back(len(chunk))
    return path


def _digest() -> str:
    digest = hashlib.sha256()
    for _ in range(_MEMBER_BYTES // _MIB):
        digest.update(_NOISE)
    digest.update(b"!")
    return digest.hexdigest()


async def test_zipfile_reads_a_huge_archive(archive: Path) -> None:
    """Zipfile finds sizes and offset in zip64 fields, and the small member beyond them."""
    with zipfile.ZipFile(archive) as reader:
        huge, small = reader.infolist()
        assert (huge.file_size, small.file_size) == (_MEMBER_BYTES, 5)
        assert small.header_offset > 1 << 32
        assert reader.read(small) == b"small"


@pytest.mark.parametrize(
    "command", [["unzip", "-tq"], ["7z", "t"], ["bsdtar", "-xOf"]], ids=["unzip", "7z", "bsdtar"]
)
async def test_readers_that_seek_read_a_huge_archive(archive: Path, command: list[str]) -> None:
    """Every tool reads it to the end and finds the CRC correct."""
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        [*command, str(archive)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_bsdtar_reads_a_huge_archive_from_a_pipe(archive: Path) -> None:
    """A streaming reader understands the zip64 data descriptor."""
    with archive.open("rb") as file:
        done = subprocess.run(  # noqa: ASYNC221 - nothing else runs
            ["bsdtar", "-tf", "-"], stdin=file, capture_output=True, check=False
        )
    assert (done.returncode, done.stdout) == (0, b"huge\nsmall\n")


@pytest.mark.parametrize("way", ["seek", "stream"])
async def test_java_reads_a_huge_archive(archive: Path, way: str) -> None:
    """java.util.zip reads all of it both ways."""
    source = Path(__file__).parents[2] / "support" / "ReadZip.java"
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        ["java", str(source), way, str(archive)], capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines == [
        [b"huge".hex(), _digest()],
        [b"small".hex(), hashlib.sha256(b"small").hexdigest()],
    ]


# --- just below 4 GiB, where the width of a data descriptor is in doubt ---------------------------


async def _zeros(size: int) -> AsyncIterator[bytes]:
    """Yield a member of zeros, and a small one behind it."""
    yield make_header(b"huge", size=size)
    for begin in range(0, size, _MIB):
        yield bytes(min(_MIB, size - begin))
    yield bytes(-size % 512)
    yield make_header(b"small", size=5) + b"small".ljust(512, b"\0")
    written = 512 + size + -size % 512 + 1024
    yield bytes(1024 + -(written + 1024) % 10_240)


@pytest.fixture(scope="module", params=[4_294_700_000, 4_294_967_294, 4_294_967_295])
async def doubtful(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return an archive of a few megabytes with a member that just fits into 32 bits."""
    path = tmp_path_factory.mktemp("doubtful") / "doubtful.zip"
    budget = MemoryBudget(2 * WORKING_BYTES)
    with path.open("wb") as file:
        async with (
            open_engine(ArchiveSettings()) as engine,
            budget.open_account(WORKING_BYTES) as account,
            engine.open_zip(_zeros(request.param), account=account) as stream,
        ):
            async for chunk in stream:
                file.write(chunk)
                account.give_back(len(chunk))
    return path


@pytest.mark.parametrize(
    "command",
    [
        ["unzip", "-tq"],
        ["7z", "t"],
        ["bsdtar", "-xOf"],
        ["sh", "-c", 'bsdtar -xOf - < "$0"'],
        ["java", "tests/support/ReadZip.java", "seek"],
        ["java", "tests/support/ReadZip.java", "stream"],
        ["python3", "-m", "zipfile", "-t"],
    ],
    ids=["unzip", "7z", "bsdtar", "bsdtar-pipe", "java-seek", "java-stream", "python"],
)
async def test_every_reader_reads_a_member_that_just_fits(
    doubtful: Path, command: list[str]
) -> None:
    """Some readers take the width from the header, others from the sizes."""
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        [*command, str(doubtful)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
