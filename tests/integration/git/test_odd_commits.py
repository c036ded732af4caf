"""Commits with odd dates, or dates outside a zip's range: as `git archive` has them."""

import io
import sys
import tarfile
from pathlib import Path

import anyio
import pytest
from support.differential import read_zip
from support.repositories import SourceRepository

from asyncbuild.config import GitSettings
from asyncbuild.git.process.command import Git
from asyncbuild.git.reader import Reader
from asyncbuild.zip.format.records import dos_time

_EARLIEST = dos_time(0)  # 1980-01-01
_LATEST = dos_time(2**40)  # 2107-12-31 23:59:58
_NOON = dos_time(1_700_000_000)


@pytest.fixture
def source(tmp_path: Path) -> SourceRepository:
    """Return a repository with one file."""
    repository = SourceRepository(tmp_path / "source")
    repository.commit({"f": b"x"})
    return repository


def _commit(source: SourceRepository, committer: str) -> str:
    """Write a commit object as given, valid or not."""
    tree = source.git("rev-parse", "main^{tree}")
    text = f"tree {tree}\nauthor A <a@x> 1 +0000\n{committer}\ngpgsig x\n >9 +0000\n\nm > 5 +0000\n"
    return source.git(
        "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=text.encode()
    )


@pytest.mark.parametrize(
    ("committer", "time"),
    [
        ("committer C <c@x> 1700000000 +0000", _NOON),
        ("committer C <c@x> 1700000000 +051800", _NOON),
        ("committer C <c@x> 1700000000 -700", _NOON),
        ("committer C <c@x> 1700000000", _NOON),
        ("committer C <c@x>1700000000 +0000", _NOON),
        ("committer C 4 +0000 <c@x> 1700000000 +0000", _NOON),
        ("committer C <c@x> 0 +0000", _EARLIEST),
        ("committer C <c@x> long ago", _EARLIEST),
        ("committer C <c@x>", _EARLIEST),
        ("committer C c@x 1700000000 +0000", _EARLIEST),
        ("committer C <c@x> 8589934592 +0000", _LATEST),
        ("committer C <c@x> 17179869183 +0000", _LATEST),
        ("committer C <c@x> 99999999999999999999999 +0000", _LATEST),
        ("committer C <c@x> -1 +0000", _LATEST),  # git has no negative times, they wrap
    ],
)
def test_the_time_is_the_one_that_git_reads(
    source: SourceRepository, tmp_path: Path, committer: str, time: int
) -> None:
    """The reader's, used for deltas; that of `git archive`; that in our archive."""
    commit = _commit(source, committer)
    assert time == dos_time(anyio.run(_read_time, source.path, tmp_path / "reader", commit))
    with tarfile.open(fileobj=io.BytesIO(source.archive(commit))) as opened:
        assert [time] == [dos_time(int(member.mtime)) for member in opened]
    out = tmp_path / "out.zip"
    command = [sys.executable, "-m", "asyncbuild", "archive", str(source.path), commit]
    anyio.run(anyio.run_process, [*command, "-q", "-o", str(out)])
    assert [time] == [entry.time for entry in read_zip(out.read_bytes())]


async def _read_time(repository: Path, directory: Path, commit: str) -> int:
    reader = Reader(Git(GitSettings()), directory)
    await reader.prepare()
    return (await reader.find(repository, [commit], "test"))[commit].time
