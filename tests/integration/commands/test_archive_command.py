"""`asyncbuild archive` to files, pipes and devices."""

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import anyio
import pytest
from support.repositories import SourceRepository
from support.wait import PATIENCE_SECONDS, wait_until

_COMMAND = (sys.executable, "-m", "asyncbuild", "archive")
_Done = subprocess.CompletedProcess[bytes]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository of one commit with one file."""
    source = SourceRepository(tmp_path / "repository")
    source.commit({"file": b"text"})
    return source.path


def _archive(
    repository: Path,
    output: str,
    *,
    stdout: int | IO[bytes] = subprocess.PIPE,
    limit: str = "",  # for bash's ulimit
) -> _Done:
    under = ["bash", "-c", f'ulimit {limit}; exec "$@"', "bash"] if limit else []
    command = [sys.executable, "-m", "asyncbuild", "archive", str(repository), "main"]
    return subprocess.run(
        [*under, *command, "-o", output],
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def _names(archive: bytes) -> list[str]:
    return zipfile.ZipFile(BytesIO(archive)).namelist()


def test_a_pipe_is_written_and_not_replaced(repository: Path, tmp_path: Path) -> None:
    """A rename by root would replace /dev/stdout by a file, for all processes."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        done = _archive(repository, str(pipe))
        archive, _ = reader.communicate(timeout=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr.decode()
    assert _names(archive) == ["file"]
    assert pipe.is_fifo()


def test_a_link_stays_and_its_target_is_replaced(repository: Path, tmp_path: Path) -> None:
    """No temporary file is left beside it."""
    directory = tmp_path / "there"
    directory.mkdir()
    (directory / "old.zip").write_text("old")
    link = tmp_path / "link.zip"
    link.symlink_to(directory / "old.zip")
    assert _archive(repository, str(link)).returncode == 0
    assert link.is_symlink()
    assert _names((directory / "old.zip").read_bytes()) == ["file"]
    assert [path.name for path in directory.iterdir()] == ["old.zip"]


@pytest.mark.parametrize("output", ["", ".", "{}", "{}/none/a.zip"])
def test_an_unusable_path_is_one_sentence(repository: Path, tmp_path: Path, output: str) -> None:
    """The sentence has a remedy, and there is no traceback."""
    done = _archive(repository, output.format(tmp_path))
    said = done.stderr.decode()
    assert done.returncode in {65, 75}
    assert "remedy: name a file" in said
    assert "Traceback" not in said


def test_a_full_disk_is_one_sentence(repository: Path) -> None:
    """Standard output may be a file, too."""
    with Path("/dev/full").open("wb") as full:
        done = _archive(repository, "-", stdout=full)
    said = done.stderr.decode()
    assert done.returncode == 75
    assert "standard output cannot be written: No space left on device" in said
    assert "Traceback" not in said


def test_too_few_open_files_are_one_sentence(repository: Path, tmp_path: Path) -> None:
    """Clean-up that fails for the same reason is not reported."""
    done = _archive(repository, str(tmp_path / "a.zip"), limit="-n 10")
    said = done.stderr.decode()
    assert done.returncode == 75
    assert "Too many open files" in said
    assert "Traceback" not in said


def test_a_damaged_commit_is_not_called_missing(repository: Path, tmp_path: Path) -> None:
    """The commit exists, but is damaged."""
    git = ["git", "-C", str(repository)]
    commit = subprocess.check_output([*git, "rev-parse", "main"], text=True).strip()
    (damaged,) = repository.rglob(f"{commit[:2]}/{commit[2:]}")
    damaged.chmod(0o600)
    damaged.write_bytes(b"")
    done = _archive(repository, str(tmp_path / "a.zip"))
    said = done.stderr.decode()
    assert done.returncode == 75
    assert "object" in said
    assert "names no commit" not in said


def test_a_closed_pipe_ends_the_command_silently(repository: Path) -> None:
    """Like `archive … -o - | head`: exit code not zero, and no output."""
    readable, writable = os.pipe()
    os.close(readable)
    done = _archive(repository, "-", stdout=writable)
    os.close(writable)
    assert done.returncode != 0
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("closed", "code", "says"),
    [
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">&-", 0, ""),
        ("-o - >&-", 75, "standard output cannot be written: Bad file descriptor"),
    ],
)
def test_a_closed_standard_output_is_one_sentence(
    repository: Path, tmp_path: Path, closed: str, code: int, says: str
) -> None:
    """A closed output matters only if the archive is to be written there."""
    output = "" if "-o" in closed else f"-o {tmp_path / 'a.zip'}"
    command = f"{sys.executable} -m asyncbuild archive {repository} main {output} {closed}"
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    said = done.stderr.decode()
    assert (done.returncode, "Traceback" in said) == (code, False), said
    assert says in said
    if output:
        assert _names((tmp_path / "a.zip").read_bytes()) == ["file"]


_ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize(
    ("number", "ignored"),
    [(number, "") for number in _ENDS]
    + [(signal.SIGTERM, "INT"), (signal.SIGHUP, "INT"), (signal.SIGTERM, "INT HUP")],
)
async def test_an_interrupted_command_removes_what_it_began(
    repository: Path, tmp_path: Path, number: signal.Signals, ignored: str
) -> None:
    """The old file stays, and nothing is in the scratch directory.

    In the background of a shell Ctrl-C is ignored; after nohup(1) the terminal's end is.
    """
    async with _stalled(repository, tmp_path, ignored) as process:
        process.send_signal(number)
        _, said = await anyio.to_thread.run_sync(process.communicate)
    assert process.returncode == 128 + number, said.decode()
    assert _left(tmp_path) == []


async def test_ignored_signals_stay_ignored(repository: Path, tmp_path: Path) -> None:
    """`nohup asyncbuild archive … &` goes on when the terminal closes."""
    async with _stalled(repository, tmp_path, "INT HUP") as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        await anyio.to_thread.run_sync(process.communicate)
    assert process.returncode == 128 + signal.SIGTERM


async def test_files_of_a_killed_command_are_removed_by_the_next(
    repository: Path, tmp_path: Path
) -> None:
    """SIGKILL leaves its scratch directory; directories that another process holds are kept."""
    async with _stalled(repository, tmp_path) as running:
        async with _stalled(repository, tmp_path / "again", scratch=tmp_path) as process:
            process.kill()
            await anyio.to_thread.run_sync(process.communicate)
        scratch = tmp_path / "scratch"
        assert len(list(scratch.iterdir())) == 2
        done = subprocess.run(  # noqa: ASYNC221 - at once
            [*_COMMAND, str(repository), "main", "-o", str(tmp_path / "b.zip")],
            env=os.environ | {"TMPDIR": str(scratch)},
            check=False,
        )
        assert done.returncode == 0
        (held,) = scratch.iterdir()
        assert (held / ".owner").exists()
        running.terminate()
        await anyio.to_thread.run_sync(running.communicate)
    assert list(scratch.iterdir()) == []


def _left(directory: Path) -> list[Path]:
    return [*(directory / "place").iterdir(), *(directory / "scratch").iterdir()]


@asynccontextmanager
async def _stalled(
    repository: Path, directory: Path, ignored: str = "", scratch: Path | None = None
) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """Start a command from a shell that ignores some signals, and stop it during its work."""
    place, scratch, programs = (
        directory / "place",
        (scratch or directory) / "scratch",
        directory / "programs",
    )
    for each in (place, scratch, programs):
        each.mkdir(exist_ok=True, parents=True)
    git = programs / "git"  # the real git, but its archive stalls
    stalling = f'case " $* " in *" archive "*) sleep {PATIENCE_SECONDS};; esac'
    git.write_text(f'#!/bin/sh\n{stalling}\nexec {shutil.which("git")} "$@"\n')
    git.chmod(0o755)
    ignoring = f"trap '' {ignored};" if ignored else ""
    command = [*_COMMAND, str(repository), "main", "-o", str(place / "a.zip")]
    with subprocess.Popen(  # noqa: ASYNC220 - at once
        ["/bin/sh", "-c", f'{ignoring} exec "$@"', "sh", *command],
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(scratch)},
        stderr=subprocess.PIPE,
    ) as process:
        await wait_until(lambda: any(place.iterdir()))
        yield process
