"""SIGKILL of the service alone: its children end, and their children."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from support.events import body
from support.git_http import open_git_server
from support.processes import Process, alive, family, mentioning
from support.repositories import SourceRepository
from support.service import environment, open_service, send
from support.signals import send_signal
from support.wait import wait_until

from asyncbuild.local.stack import open_stack

_NAMES = ["web0", "web1", "web2"]


async def _wait_ended(processes: Iterable[Process]) -> float:
    started = time.monotonic()
    await wait_until(lambda: not alive(processes))
    return time.monotonic() - started


def _noise() -> bytes:
    return random.Random(1).randbytes(3_000_000)  # noqa: S311 - incompressible, not secret


async def test_no_child_outlives_a_killed_service(
    record_property: Callable[[str, object], None],
) -> None:
    """Three fetches stall, each with a transport and an index-pack: children's children."""
    async with open_stack(_NAMES) as stack:
        root = stack.directory / "host"
        async with open_git_server(root) as server:
            server.behaviour.stall_after_bytes = 1_000_000
            for name in _NAMES:
                commit = SourceRepository(root / name).commit({"noise": _noise()})
                event = {"event": "referenceCreated", "oldCommitId": None}
                message = body(repositoryName=name, commitId=commit, **event)
                await send(stack, message, name)
            git = {"remote": server.template, "credentials": "none"}
            async with open_service(environment(stack, git=git)) as service:
                wanted = {"remote-http": 3, "index-pack": 3, "reaper": 1}

                def all_work() -> bool:
                    commands = family(service.process.pid).values()
                    return all(
                        sum(word in each for each in commands) >= count
                        for word, count in wanted.items()
                    )

                await wait_until(all_work)
                children = family(service.process.pid)
                send_signal(service.process, signal.SIGKILL)
                await service.wait()
                record_property("seconds", await _wait_ended(children))
            server.break_off()


async def _start(tmp_path: Path) -> anyio.abc.Process:
    """Make an archive of a local repository for a reader that takes nothing."""
    return await anyio.open_process(
        [sys.executable, "-m", "asyncbuild", "archive", "source", "main", "-o", "pipe"],
        cwd=tmp_path,
        env={**os.environ, "ASYNCBUILD_GIT__CACHE_DIRECTORY": str(tmp_path / "cache")},
        stdout=None,
        stderr=None,
        start_new_session=True,
    )


@pytest.mark.timeout(240)
async def test_a_kill_at_any_moment_leaves_nothing(tmp_path: Path) -> None:
    """Kills between the start of a child and the next step are included; workers end, too."""
    source = SourceRepository(tmp_path / "source")
    source.commit({str(number): _noise() for number in range(8)})
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    pauses = random.Random(2)  # noqa: S311 - repeatable, not secret
    seen = 0
    try:
        for _ in range(8):
            process = await _start(tmp_path)
            await wait_until(lambda pid=process.pid: bool(family(pid)))  # type: ignore[misc]
            await anyio.sleep(pauses.uniform(0, 0.6))
            children = family(process.pid)
            seen += len(children)
            send_signal(process, signal.SIGKILL)
            await process.wait()
            await _wait_ended(children)
            await wait_until(lambda: not mentioning(str(tmp_path)))
    finally:
        os.close(reading)
    assert seen > 8, "no child was ever there to be left"


async def test_a_guard_ends_with_the_work(tmp_path: Path) -> None:
    """After a normal end the guard has ended, too, and nothing was killed."""
    SourceRepository(tmp_path / "source").commit({"a": b"1"})
    output = tmp_path / "a.zip"
    done = await anyio.run_process(
        [sys.executable, "-m", "asyncbuild", "archive", "source", "main", "-o", str(output)],
        cwd=tmp_path,
    )
    assert not done.stderr
    assert output.exists()
    assert await to_thread.run_sync(mentioning, str(tmp_path)) == []
