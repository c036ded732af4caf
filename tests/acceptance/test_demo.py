"""`asyncbuild demo` as a newcomer runs it: a process of its own, judged by its exit and JSON."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from anyio.abc import Process
from support.naive import Naive
from support.signals import send_signal
from support.wait import PATIENCE_SECONDS, wait_until

from asyncbuild.local import demo
from asyncbuild.local.demo import DemoOptions
from asyncbuild.local.tree import run_git
from asyncbuild.local.workload import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# Whose AWS and settings a caller has must not matter: nothing of it may be used.
CALLERS_OWN = {
    "AWS_PROFILE": "production",
    "AWS_ENDPOINT_URL": "https://example.invalid",
    "ASYNCBUILD_QUEUE__URL": "https://example.invalid/queue.fifo",
    "ASYNCBUILD_NO_SUCH_SETTING": "1",
    "GIT_DIR": "/nowhere",
}


def demo_command(*options: str) -> list[str]:
    """How to run the demo."""
    return [sys.executable, "-m", "asyncbuild", "demo", *options]


def environment(directory: Path) -> dict[str, str]:
    """The caller's environment; all temporary files go to `directory`."""
    return {**os.environ, **CALLERS_OWN, "TMPDIR": str(directory)}


async def run_demo(*options: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    return await anyio.run_process(demo_command(*options), env=environment(directory), check=False)


def files_of(directory: Path) -> dict[str, bytes]:
    """Every file below `directory` with its content."""
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def left_in(directory: Path) -> list[str]:
    """What is in `directory`."""
    return [path.name for path in directory.iterdir()]


def iter_children_of(directory: Path) -> Iterator[int]:
    """Processes, of any parent, whose environment or command line names `directory`."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:  # ended, or somebody else's
            continue
        if str(directory).encode() in said:
            yield int(process.name)


async def wait_childless(directory: Path) -> None:
    """All have ended: git's own children are killed with it, and need a moment for that."""
    await wait_until(lambda: not list(iter_children_of(directory)))


@pytest.fixture
async def repository(tmp_path: Path) -> Path:
    """A bare repository with six commits on main."""

    async def at_once(_: object) -> None: ...

    story = await Story.create(tmp_path / "mine", "shop", ["main"] * 6, seed=5)
    async for _ in story.iter_pushes(at_once):
        pass
    return story.remote.directory


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """An empty directory that has to be empty again in the end."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    return directory


async def test_every_push_is_built_once_in_order(temporary: Path) -> None:
    """55 pushes to 5 repositories: all as expected, by the servers' word, and nothing left."""
    done = await run_demo("--json", directory=temporary)
    assert done.returncode == 0, done.stderr.decode()
    document = orjson.loads(done.stdout)
    builds = document.pop("builds")
    assert document == {
        "pushes": 55,
        "built": 44,
        "uploaded": 7,
        "missing": 0,
        "duplicated": 0,
        "out_of_order": 0,
        "unexpected": 0,
        "wrong_content": 0,
        "faults": [],
    }
    assert len(builds) == 44
    assert len({build["repository"] for build in builds}) == 5
    assert all(build["size_bytes"] > 100_000 and build["seconds"] > 0 for build in builds)
    assert left_in(temporary) == []
    await wait_childless(temporary)


async def test_own_repositories_are_replayed(temporary: Path, repository: Path) -> None:
    """The last commits of the default branch become pushes; the repository itself is left alone."""
    before = files_of(repository)
    options = ["--repository", str(repository), "--pushes", "4", "--json"]
    done = await run_demo(*options, directory=temporary)
    assert done.returncode == 0, done.stderr.decode()
    document = orjson.loads(done.stdout)
    commits = await run_git("rev-list", "--reverse", "-4", "main", directory=repository)
    assert [build["commit"] for build in document["builds"]] == commits.decode().split()
    assert before == files_of(repository)
    assert left_in(temporary) == []


async def test_what_is_no_repository_is_said_so(temporary: Path) -> None:
    """One sentence with the path and a remedy, no traceback; nothing left."""
    missing = str(temporary.parent / "missing")
    done = await run_demo("-r", missing, directory=temporary)
    said = done.stderr.decode()
    assert done.returncode == 65
    assert missing in said
    assert "remedy: name a git repository" in said
    assert "Traceback" not in said
    assert left_in(temporary) == []


@pytest.mark.parametrize(
    ("number", "keep", "code"),
    [(signal.SIGINT, False, 130), (signal.SIGTERM, False, 143), (signal.SIGINT, True, 0)],
    ids=["ctrl-c", "terminated", "ctrl-c after --keep"],
)
async def test_leaves_nothing_behind_when_stopped(
    temporary: Path, repository: Path, number: signal.Signals, code: int, *, keep: bool
) -> None:
    """Whenever a signal comes, servers, service and temporary files are gone afterwards."""
    mine = ("--repository", str(repository), "--keep") if keep else ()
    async with await anyio.open_process(
        demo_command(*mine), env=environment(temporary), stderr=subprocess.STDOUT
    ) as process:
        await wait_said(process, b"Ctrl-C ends everything" if keep else b"built")
        assert list(iter_children_of(temporary)) != []
        send_signal(process, number)
        with anyio.fail_after(PATIENCE_SECONDS):
            assert await process.wait() == code
    assert left_in(temporary) == []
    await wait_childless(temporary)


async def test_a_second_signal_does_not_stop_the_cleaning(temporary: Path) -> None:
    """Who is impatient finds nothing left, either."""
    async with await anyio.open_process(
        demo_command(), env=environment(temporary), stderr=subprocess.STDOUT
    ) as process:
        await wait_said(process, b"built")
        with anyio.fail_after(PATIENCE_SECONDS):
            while process.returncode is None:
                send_signal(process, signal.SIGINT)
                await anyio.sleep(0.02)
        # The last one may hit the interpreter on its way out, when all is clean.
        assert process.returncode in {130, -signal.SIGINT}
    assert left_in(temporary) == []
    await wait_childless(temporary)


async def test_a_closed_pipe_is_no_traceback(temporary: Path) -> None:
    """As `asyncbuild demo | head` has it; nothing is left, either."""
    readable, writable = os.pipe()
    os.close(readable)
    done = await anyio.run_process(
        demo_command(), env=environment(temporary), stdout=writable, check=False
    )
    os.close(writable)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert left_in(temporary) == []


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["table", "json"])
async def test_a_full_disk_is_no_traceback(
    temporary: Path, repository: Path, options: tuple[str, ...]
) -> None:
    """Standard output cannot be written: one sentence, an exit code of its own, nothing left."""
    mine = demo_command("-r", str(repository), "--pushes", "1", *options)
    with open("/dev/full", "ab") as full:  # noqa: ASYNC230, PTH123 - a device, opened at once
        done = await anyio.run_process(mine, env=environment(temporary), stdout=full, check=False)
    said = done.stderr.decode()
    assert done.returncode == 74, said
    assert "standard output cannot be written: No space left on device" in said
    assert "Traceback" not in said
    assert left_in(temporary) == []


async def test_a_terminal_without_umlauts(temporary: Path) -> None:
    """Names in git stay UTF-8 where the locale is ASCII; signs that it lacks are replaced."""

    async def at_once(_: object) -> None: ...

    story = await Story.create(temporary.parent / "mine", "shop", ["main", "übung"], seed=5)
    async for _ in story.iter_pushes(at_once):
        pass
    mine = story.remote.directory
    await run_git("symbolic-ref", "HEAD", "refs/heads/übung", directory=mine)
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = await anyio.run_process(
        demo_command("-r", str(mine), "--pushes", "2"),
        env=environment(temporary) | ascii_only,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"refs/heads/?bung" in done.stdout
    assert left_in(temporary) == []


async def wait_said(process: Process, words: bytes) -> None:
    """Read what the process says until it has said `words`."""
    assert process.stdout is not None
    said = b""
    with anyio.fail_after(90):
        async for piece in process.stdout:
            said += piece
            if words in said:
                return
    pytest.fail(f"ended without saying {words!r}, but: {said.decode()}")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("missing", "missing"), ("doubled", "duplicated"), ("content", "wrong_content")],
)
async def test_the_verdict_follows_the_servers(
    repository: Path,
    fault: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A service that does one push wrong gets exit code 1 and the right count."""
    monkeypatch.setattr(demo, "_PAUSES_SECONDS", (0.0,))
    options = DemoOptions(repositories=(str(repository),), as_json=True)
    code = await demo.run(options, Naive(fault))
    document: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    assert code == 1
    wrong = {name for name in ("missing", "duplicated", "wrong_content") if document[name]}
    assert wrong == {kind}
    assert len(document["faults"]) == 1
