"""Limits of git's processes: a push that reaches one is rejected with it; other pushes go on."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import anyio
import pytest
from support.mirrors import MAIN, Site, archive_of, repository
from support.repositories import SourceRepository

from asyncbuild.config import GitSettings
from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.git.process.command import Command, Git, ProcessKind
from asyncbuild.git.process.version import parse_version

_VERSION = parse_version(subprocess.check_output(["git", "version"], text=True)) or (0, 0)
_LINEAR = (2, 40)
# Each pattern tries every way to place its stars in every name.
_BOMB = b"".join(b"*a" * 16 + b"b%d export-ignore\n" % number for number in range(200))
_NAMES = [f"{'a' * 200}{number:05d}" for number in range(50)]


async def test_attributes_of_exponential_cost_end_by_processor_time(site: Site) -> None:
    """Their cost cannot be computed in advance: processor time ends git.

    Since 2.40 git matches such patterns in bounded time, and makes the archive.
    """
    bomb = site.source.commit({".gitattributes": _BOMB, **dict.fromkeys(_NAMES, b"x")})
    good = SourceRepository(site.directory / "remote" / "good")
    honest = good.commit({"a": b"1"})
    async with site.open_mirrors(cpu_seconds=1) as mirrors:
        built = anyio.Event()

        async def build_good() -> None:
            assert await archive_of(mirrors, honest, name="good") == good.archive(honest)
            built.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(build_good)
            if _VERSION >= _LINEAR:
                assert await archive_of(mirrors, bomb) == site.source.archive(bomb)
            else:
                with pytest.raises(Reject, match=r"took 1 s .* git\.cpu_seconds = 1") as raised:
                    await archive_of(mirrors, bomb)
                assert ".gitattributes" in raised.value.remedy
        assert built.is_set()
        assert mirrors.statistics().renewals == 0
        next_one = site.source.commit({".gitattributes": b"* text=auto\n"})
        assert await archive_of(mirrors, next_one) == site.source.archive(next_one)


async def _run(
    script: str, *, work: ProcessKind = ProcessKind.STREAM, patient: bool = False
) -> int:
    git = Git(GitSettings(cpu_seconds=1))
    command = Command(("-c", script), "try it", program=sys.executable, work=work, patient=patient)
    return sum([len(await git.run(command))])


_COMPUTE = "import os, time\nwhile time.process_time() < 1.5: pass\n"
_WRITE = (
    "import os, time\n"
    "for n in range(1, 12):\n"
    "    while time.process_time() < n / 4: pass\n"
    "    left = bytes(4 << 20)\n"
    "    while left: left = left[os.write(1, left):]\n"
)


@pytest.mark.parametrize("work", [ProcessKind.STREAM, ProcessKind.TREE, ProcessKind.LOOK_UP])
async def test_a_reader_that_only_computes_is_ended(work: ProcessKind) -> None:
    """Any kind of reading is."""
    with pytest.raises(Reject, match=r"git\.cpu_seconds = 1"):
        await _run(_COMPUTE, work=work)


async def test_a_git_that_writes_may_compute_for_longer() -> None:
    """Long archives take long: 44 MiB allow eleven seconds more, of which it takes two."""
    assert await _run(_WRITE) == 11 << 22


@pytest.mark.parametrize(
    ("work", "patient"),
    [(ProcessKind.FETCH, False), (ProcessKind.UPKEEP, False), (ProcessKind.LOOK_UP, True)],
)
async def test_a_git_that_writes_a_mirror_or_walks_a_history_may_compute(
    work: ProcessKind, *, patient: bool
) -> None:
    """Its limit is `git.timeout_seconds`."""
    assert await _run(_COMPUTE, work=work, patient=patient) == 0


async def test_a_stream_that_drips_is_ended() -> None:
    """Some output now and then is a sign of life, but not for longer than the time-out."""
    git = Git(GitSettings(timeout_seconds=1, silence_timeout_seconds=60))
    script = "import os, time\nwhile os.write(1, b'x'): time.sleep(0.05)"
    command = Command(("-c", script), "try it", program=sys.executable, work=ProcessKind.STREAM)

    async def read() -> None:
        async with git.open_stdout(command) as stdout:
            async for _ in stdout:
                pass

    with pytest.raises(Retry, match="not done after 1 s") as raised:
        await read()
    assert "git.timeout_seconds" in raised.value.remedy


async def test_a_reader_that_pauses_is_not_a_slow_stream() -> None:
    """An upload that waits for S3 does not use up the archive's time."""
    git = Git(GitSettings(timeout_seconds=1))
    command = Command(("version",), "try it", work=ProcessKind.STREAM)
    async with git.open_stdout(command) as stdout:
        await anyio.sleep(1.1)
        assert b"".join([chunk async for chunk in stdout]).startswith(b"git version")


async def test_no_git_writes_a_core_file() -> None:
    """Core files would contain tokens, and fill the disk."""
    git = Git(GitSettings())
    for work in ProcessKind:
        command = Command(("-c", "alias.x=!sleep 0.2; ulimit -c", "x"), "try it", work=work)
        assert await git.run(command) == b"0\n"


def _lines(count: int) -> bytes:
    return b"# no pattern\n\n" + b"".join(b"f%d text\n" % number for number in range(count))


_Made = Callable[[int], Mapping[str, bytes]]
_EXTENTS: dict[str, tuple[int, _Made]] = {
    "entries_most": (7, lambda count: {f"d/{number}": b"" for number in range(count - 1)}),
    "attribute_patterns_most": (9, lambda count: {".gitattributes": _lines(count)}),
    "attribute_bytes_most": (40, lambda count: {".gitattributes": b"#" * count}),
}
_SPREAD: dict[str, tuple[int, _Made]] = {  # over files of equal content, each of which git reads
    "attribute_patterns_most": (6, lambda count: _spread(_lines(1), count)),
    "attribute_bytes_most": (40, lambda count: _spread(b"#" * 20, count // 20 + count % 20)),
}


def _spread(content: bytes, count: int) -> Mapping[str, bytes]:
    return {f"{number}/.gitattributes": content for number in range(count)}


@pytest.mark.parametrize(
    ("setting", "most", "made"),
    [(name, *each) for table in (_EXTENTS, _SPREAD) for name, each in table.items()],
)
async def test_an_archive_up_to_each_limit_is_made_and_a_larger_one_rejected(
    site: Site, setting: str, most: int, made: _Made
) -> None:
    """The reason names repository, commit, setting and number; the mirror is not blamed."""
    fits = site.source.commit(made(most), parent=None)
    changes: dict[str, Any] = {setting: most}
    async with site.open_mirrors(**changes) as mirrors:
        assert await archive_of(mirrors, fits) == site.source.archive(fits)
        beyond = site.source.commit(made(most + 1), parent=None)
        with pytest.raises(Reject, match=rf"{beyond}: .*{most}.*") as raised:
            await archive_of(mirrors, beyond)
        assert f"git.{setting}" in str(raised.value)
        async with mirrors.open(repository(), ref=MAIN, commit=beyond) as snapshot:
            with pytest.raises(
                Reject, match=rf"{beyond}: .*{most}.*"
            ):  # treated as one with large files
                await snapshot.measured()
        assert mirrors.statistics().renewals == 0


async def _last(batches: AsyncIterator[list[bytes]]) -> AsyncIterator[bool]:
    async for _ in batches:
        pass
    yield True


async def test_a_small_tree_with_ten_million_paths_is_rejected(site: Site) -> None:
    """The default settings reject it before git has all paths in memory."""
    git = site.source.git
    entry = f"100644 blob {git('hash-object', '-w', '--stdin', stdin=b'x')}"
    for _ in range(7):
        listing = "".join(f"{entry}\td{number}\n" for number in range(10))
        entry = f"040000 tree {git('mktree', stdin=listing.encode())}"
    commit = git(
        *("-c", "user.name=a", "-c", "user.email=a@b"),
        *("commit-tree", "-m", "x", entry.split()[-1]),
    )
    git("update-ref", MAIN, commit)
    async with site.open_mirrors() as mirrors:
        with pytest.raises(Reject, match=r"more than 1000000 entries.*git\.entries_most"):
            await archive_of(mirrors, commit)
        async with mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot:
            lines = snapshot.iter_lines()
            with pytest.raises(Reject, match=r"git\.entries_most"):
                assert await anext(_last(lines))
