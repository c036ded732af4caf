"""`asyncbuild demo` as a newcomer runs it: a separate process, judged by its exit and JSON."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from aiohttp import web
from anyio.abc import Process
from support.naive import Naive
from support.signals import send_signal
from support.wait import PATIENCE_SECONDS, wait_until

from asyncbuild.local import demo
from asyncbuild.local.demo import DemoOptions
from asyncbuild.local.expected_tree import run_git
from asyncbuild.local.servers.served import open_site
from asyncbuild.local.workload import SampleRepository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# The caller's AWS account and settings must not matter: none of it may be used.
CALLERS_OWN = {
    "AWS_PROFILE": "production",
    "AWS_ENDPOINT_URL": "https://example.invalid",
    "ASYNCBUILD_QUEUE__URL": "https://example.invalid/queue.fifo",
    "ASYNCBUILD_NO_SUCH_SETTING": "1",
    "GIT_DIR": "/nowhere",
}


def demo_command(*options: str) -> list[str]:
    """Return the command line of the demo."""
    return [sys.executable, "-m", "asyncbuild", "demo", *options]


def environment(directory: Path) -> dict[str, str]:
    """Return the caller's environment; all temporary files go to `directory`."""
    return {**os.environ, **CALLERS_OWN, "TMPDIR": str(directory)}


async def run_demo(*options: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
    """Run the demo to its end."""
    return await anyio.run_process(demo_command(*options), env=environment(directory), check=False)


def files_of(directory: Path) -> dict[str, bytes]:
    """Return every file below `directory` with its content."""
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def left_in(directory: Path) -> list[str]:
    """Return the names in `directory`."""
    return [path.name for path in directory.iterdir()]


def iter_children_of(directory: Path) -> Iterator[int]:
    """Yield processes, of any parent, whose environment or command line names `directory`."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            said = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:  # ended, or another user's
            continue
        if str(directory).encode() in said:
            yield int(process.name)


async def wait_childless(directory: Path) -> None:
    """Wait until all have ended: git's children are killed with it, and take a moment."""
    await wait_until(lambda: not list(iter_children_of(directory)))


@pytest.fixture
async def repository(tmp_path: Path) -> Path:
    """Return a bare repository with six commits on main."""

    async def at_once(_: object) -> None: ...

    story = await SampleRepository.create(tmp_path / "mine", "shop", ["main"] * 6, seed=5)
    async for _ in story.iter_pushes(at_once):
        pass
    return story.remote.directory


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Return an empty directory that has to be empty again in the end."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    return directory


async def test_every_push_is_built_once_in_order(temporary: Path) -> None:
    """55 pushes to 5 repositories: all as expected by the servers' records, and nothing left.

    The events of three are dropped, and a round finds them.
    """
    done = await run_demo("--json", "--lose", "3", directory=temporary)
    assert done.returncode == 0, done.stderr.decode()
    document = orjson.loads(done.stdout)
    builds = document.pop("builds")
    results = [build["result"] for build in builds]
    assert document == {
        "pushes": 55,
        "built": 44,
        "uploaded": 7,
        "passed": results.count("succeeded"),
        "failed": 44 - results.count("succeeded"),
        "missing": 0,
        "duplicated": 0,
        "out_of_order": 0,
        "unexpected": 0,
        "wrong_content": 0,
        "without_result": 0,
        "wrong_result": 0,
        "statuses_pending": 0,
        "statuses_wrong": 0,
        "faults": [],
        "lost": 3,
        "found": 3,
    }
    assert len(builds) == 44
    assert len({build["repository"] for build in builds}) == 5
    assert sum(build["event_id"].startswith("found-") for build in builds) == 3
    assert all(build["size_bytes"] > 100_000 and build["seconds"] > 0 for build in builds)
    assert {"succeeded", "failed"} <= set(results) <= {"succeeded", "failed", "fault", "timed-out"}
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


async def test_an_invalid_repository_is_reported(temporary: Path) -> None:
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
    [
        (signal.SIGINT, False, 130),
        (signal.SIGTERM, False, 143),
        (signal.SIGHUP, False, 129),
        (signal.SIGINT, True, 0),
    ],
    ids=["ctrl-c", "terminated", "terminal closed", "ctrl-c after --keep"],
)
async def test_leaves_nothing_behind_when_stopped(
    temporary: Path, repository: Path, number: signal.Signals, code: int, *, keep: bool
) -> None:
    """After a signal at any time servers, service and temporary files are gone."""
    mine = ("--repository", str(repository), "--keep") if keep else ()
    async with await anyio.open_process(
        demo_command(*mine), env=environment(temporary), stderr=subprocess.STDOUT
    ) as process:
        await wait_said(process, b"Ctrl-C ends everything" if keep else b"started")
        assert list(iter_children_of(temporary)) != []
        send_signal(process, number)
        with anyio.fail_after(PATIENCE_SECONDS):
            assert await process.wait() == code
    assert left_in(temporary) == []
    await wait_childless(temporary)


_AGAIN = "build shop --again --wait"


async def test_commands_printed_by_keep_work(temporary: Path, repository: Path) -> None:
    """Output of `--keep`, pasted into another terminal: four commands that work there."""
    mine = ("--repository", str(repository), "--pushes", "2", "--keep")
    async with await anyio.open_process(
        demo_command(*mine), env=environment(temporary), stderr=subprocess.STDOUT
    ) as process:
        said = await wait_said(process, b"Ctrl-C ends everything")
        block = said.partition("paste there:")[2].partition("Ctrl-C")[0]
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        assert [line.split()[0] for line in lines[:2]] == ["unset", "export"]
        commands = {line.partition(" -m asyncbuild ")[2]: line for line in lines[2:]}
        assert list(commands) == ["explain shop", _AGAIN, "top", "dead-letters list"]
        shown = {}
        for name, command in commands.items():
            pasted = "\n".join([*lines[:2], command])
            done = await anyio.run_process(
                ["/bin/sh", "-c", pasted], env={**os.environ, **CALLERS_OWN}, check=False
            )
            # Some of the demo's builds fail.
            assert done.returncode in {0, int(name == _AGAIN)}, done.stderr.decode()
            shown[name] = done.stdout.decode()
        send_signal(process, signal.SIGINT)
        assert await process.wait() == 0
    assert "passed" in shown["explain shop"]
    assert "started shop: " in shown[_AGAIN]
    assert "shop" in shown["top"]
    assert "The dead-letter queue is empty" in shown["dead-letters list"]


async def test_a_closed_terminal_leaves_nothing(temporary: Path) -> None:
    """SIGHUP, and output can no longer be written."""
    ours, theirs = os.openpty()
    async with await anyio.open_process(
        ["setsid", "--ctty", *demo_command()],
        env=environment(temporary),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        with anyio.fail_after(PATIENCE_SECONDS):
            while b"become builds" not in said:
                await anyio.wait_readable(ours)
                said += os.read(ours, 10_000)
            os.close(ours)
            await process.wait()
    assert left_in(temporary) == []
    await wait_childless(temporary)


@pytest.mark.parametrize("branch", ["main", ""])
async def test_a_detached_head_is_replayed(
    temporary: Path, repository: Path, tmp_path: Path, branch: str
) -> None:
    """Checkouts of CI systems are shallow, and without a branch."""
    checkout = tmp_path / "checkout"
    url = f"file://{repository}"
    await run_git("clone", "--quiet", "--depth=3", url, str(checkout))
    head = (await run_git("rev-parse", "HEAD", directory=checkout)).decode().strip()
    await run_git("checkout", "--quiet", "--detach", directory=checkout)
    if not branch:
        await run_git("branch", "--quiet", "-D", "main", directory=checkout)
    done = await run_demo("-r", str(checkout), "--pushes", "2", "--json", directory=temporary)
    assert done.returncode == 0, done.stderr.decode()
    builds = orjson.loads(done.stdout)["builds"]
    assert {build["ref"] for build in builds} == {"refs/heads/main"}
    assert builds[-1]["commit"] == head


@pytest.mark.parametrize(
    ("source", "code", "remedy"),
    [
        ("http://127.0.0.1:1/x.git", 69, "see whether the address is right"),
        ("ssh://127.0.0.1:1/x", 69, "see whether the address is right"),
        ("{empty}", 65, "commit something, or name another repository"),
        ("{login}/x.git", 77, "clone it by hand, where you can log in"),
    ],
)
async def test_each_unusable_repository_has_its_remedy(
    temporary: Path, tmp_path: Path, source: str, code: int, remedy: str
) -> None:
    """Unreachable, refused, or empty."""
    await run_git("init", "--quiet", str(tmp_path / "empty"))
    async with open_locked() as url:
        named = source.format(empty=tmp_path / "empty", login=url)
        done = await run_demo("-r", named, directory=temporary)
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert f"remedy: {remedy}" in said
    assert "Traceback" not in said
    assert left_in(temporary) == []


@asynccontextmanager
async def open_locked() -> AsyncIterator[str]:
    """Yield the URL of a server that requires a login."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", refuse)
    async with open_site(application) as url:
        yield url


# A machine that lacks something, for one process: its own mounts, or its own network.
SMALL = 'mount -t tmpfs -o size=2m none "$SMALL" && exec "$@"'
NO_PORTS = (
    "ip link set lo up; echo '40000 40001' > /proc/sys/net/ipv4/ip_local_port_range; exec \"$@\""
)
TAKEN = (
    "import socket, subprocess, sys\n"
    "held = [socket.create_server(('127.0.0.1', port)) for port in (40000, 40001)]\n"
    "sys.exit(subprocess.call(sys.argv[1:]))"
)


async def run_lacking(
    option: str, prepare: str, *command: str, **variables: str
) -> tuple[int, str]:
    """Run a command in a namespace of its own; skip where that is not allowed."""
    if (await anyio.run_process(["unshare", option, "true"], check=False)).returncode:
        pytest.skip(f"unshare {option} is not allowed here")
    done = await anyio.run_process(
        ["unshare", option, "/bin/sh", "-c", prepare, "sh", *command],
        env={**os.environ, **variables},
        cwd=variables.get("PYTHONPATH"),
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = done.stdout.decode()
    assert "Traceback" not in said, said
    return done.returncode, said


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """Return the package as installed, outside a checkout, so servers go into the user's cache."""
    shutil.copytree(Path(demo.__file__).parents[1], tmp_path / "site" / "asyncbuild")
    return str(tmp_path / "site")


async def test_a_small_temporary_directory_is_named(temporary: Path) -> None:
    """Path, free bytes and the variable are named; nothing begins."""
    code, said = await run_lacking(
        "-m", SMALL, *demo_command(), SMALL=str(temporary), TMPDIR=str(temporary)
    )
    assert code == 78, said
    assert f"{temporary}/asyncbuild-demo-" in said
    assert "has 2,097,152 bytes free, and the demo needs about 134,217,728" in said
    assert "environment variable TMPDIR" in said


async def test_a_small_cache_is_named(temporary: Path, installed: str) -> None:
    """The cache is where servers would be installed."""
    variables = {"SMALL": str(temporary), "XDG_CACHE_HOME": str(temporary), "PYTHONPATH": installed}
    code, said = await run_lacking("-m", SMALL, *demo_command(), **variables)
    assert code == 78, said
    assert f"{temporary}/asyncbuild/servers has 2,097,152 bytes free, and ministack==" in said
    assert "XDG_CACHE_HOME" in said


async def test_no_free_port_is_one_sentence(temporary: Path) -> None:
    """Every port of the range is taken."""
    command = [sys.executable, "-c", TAKEN, *demo_command()]
    code, said = await run_lacking("-n", NO_PORTS, *command, TMPDIR=str(temporary))
    assert code == 70, said
    assert "no free port on 127.0.0.1" in said
    assert "remedy: end what takes them" in said
    assert left_in(temporary) == []


@pytest.mark.parametrize(
    ("home", "says"),
    [
        ("/proc/nothing", "/proc/nothing/.cache/asyncbuild/servers: No such file"),
        ("/dev/null", "/dev/null/.cache/asyncbuild/servers: Not a directory"),
    ],
)
async def test_an_unwritable_home_is_named(
    temporary: Path, installed: str, home: str, says: str
) -> None:
    """The directory, its free space, and the variable for another."""
    variables = {"HOME": home, "TMPDIR": str(temporary), "PYTHONPATH": installed}
    done = await anyio.run_process(
        demo_command(),
        env={**os.environ, **variables},
        cwd=installed,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = done.stdout.decode()
    assert done.returncode == 78, said
    assert says in said
    assert "bytes free" in said
    assert "XDG_CACHE_HOME" in said
    assert "Traceback" not in said
    assert left_in(temporary) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user without a name")
async def test_a_user_without_a_home_gets_an_error(temporary: Path, installed: str) -> None:
    """Containers with a numeric user have no HOME and no entry in /etc/passwd."""
    code = (
        "import os\n"
        "from asyncbuild.local.servers.packages import servers_directory\n"
        "os.setuid(54321)\n"
        "os.environ.pop('HOME', None)\n"
        "servers_directory()"
    )
    done = await anyio.run_process(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": installed},
        cwd=installed,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert b"user 54321 has no home directory to install servers in" in done.stdout


async def test_an_unreachable_package_index_is_one_line(temporary: Path, installed: str) -> None:
    """The package, its directory, and the cause."""
    cache = temporary.parent / "cache"
    variables = {
        "PYTHONPATH": installed,
        "XDG_CACHE_HOME": str(cache),
        "TMPDIR": str(temporary),
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_RETRIES": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }
    done = await anyio.run_process(
        demo_command(), env={**os.environ, **variables}, cwd=installed, check=False
    )
    said = done.stderr.decode()
    assert done.returncode == 69, said
    assert f"into {cache}/asyncbuild/servers: once" in done.stdout.decode()
    lines = said.strip().splitlines()
    assert len(lines) == 2, said
    assert "cannot install ministack==" in lines[0]
    assert lines[0].endswith("the package index cannot be reached: Connection refused")
    assert "PIP_INDEX_URL" in lines[1]
    assert left_in(temporary) == []


async def test_a_second_signal_does_not_stop_the_clean_up(temporary: Path) -> None:
    """An impatient user finds nothing left, either."""
    async with await anyio.open_process(
        demo_command(), env=environment(temporary), stderr=subprocess.STDOUT
    ) as process:
        await wait_said(process, b"started")
        with anyio.fail_after(PATIENCE_SECONDS):
            while process.returncode is None:
                send_signal(process, signal.SIGINT)
                await anyio.sleep(0.02)
        # The last one may hit the interpreter on its way out, when all is clean.
        assert process.returncode in {130, -signal.SIGINT}
    assert left_in(temporary) == []
    await wait_childless(temporary)


async def test_a_closed_pipe_is_no_traceback(temporary: Path) -> None:
    """A pipe closed like that of `asyncbuild demo | head` is silent; nothing is left, either."""
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
    """Standard output cannot be written: one sentence, its own exit code, nothing left."""
    mine = demo_command("-r", str(repository), "--pushes", "1", *options)
    with open("/dev/full", "ab") as full:  # noqa: ASYNC230, PTH123 - a device, opened at once
        done = await anyio.run_process(mine, env=environment(temporary), stdout=full, check=False)
    said = done.stderr.decode()
    assert done.returncode == 74, said
    assert "standard output cannot be written: No space left on device" in said
    assert "Traceback" not in said
    assert left_in(temporary) == []


async def test_a_terminal_without_unicode_is_supported(temporary: Path) -> None:
    """Names in git stay UTF-8 where the locale is ASCII; missing characters are replaced."""

    async def at_once(_: object) -> None: ...

    story = await SampleRepository.create(
        temporary.parent / "mine", "shop", ["main", "übung"], seed=5
    )
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


async def wait_said(process: Process, words: bytes) -> str:
    """Read the output of the process up to `words`; return all of it."""
    assert process.stdout is not None
    said = b""
    with anyio.fail_after(90):
        async for piece in process.stdout:
            said += piece
            if words in said:
                return said.decode()
    pytest.fail(f"ended without saying {words!r}, but: {said.decode()}")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("missing", "missing"),
        ("doubled", "duplicated"),
        ("content", "wrong_content"),
        ("unrecorded", "without_result"),
        ("misrecorded", "wrong_result"),
    ],
)
async def test_the_verdict_follows_the_servers(
    repository: Path,
    fault: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A service with one wrong push has exit code 1 and the right count."""
    monkeypatch.setattr(demo, "_PAUSES_SECONDS", (0.0,))
    monkeypatch.setattr(demo, "_RESULT_SILENCE_SECONDS", 6.0)
    options = DemoOptions(repositories=(str(repository),), as_json=True)
    code = await demo.run(options, Naive(fault))
    document: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    assert code == 1
    kinds = ("missing", "duplicated", "wrong_content", "without_result", "wrong_result")
    assert {name for name in kinds if document[name]} == {kind}
    assert len(document["faults"]) == 1
