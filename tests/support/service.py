"""The service as a process of its own, on the stack of the demo."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import orjson
from anyio.abc import Process
from support.signals import send_signal

from asyncbuild.local.stack import DEAD_LETTERS, Stack
from asyncbuild.local.verify import Pushed
from asyncbuild.local.workload import SampleRepository

_SECTIONS = ("aws", "queue", "git", "storage", "builds", "lanes", "archive", "status")


def environment(stack: Stack, **more: object) -> dict[str, str]:
    """Return the stack's settings as ASYNCBUILD_* variables; `more` as `queue={"batch": 1}`."""
    variables = dict(os.environ)
    for name in _SECTIONS:
        section = getattr(stack.settings, name).model_dump(mode="json", exclude_defaults=True)
        section |= more.pop(name, {})
        if section:
            variables[f"ASYNCBUILD_{name.upper()}"] = json.dumps(section)
    for name, value in more.items():
        variables[f"ASYNCBUILD_{name.upper()}"] = json.dumps(value)
    variables["ASYNCBUILD_LOG__FORMAT"] = "json"
    return variables


@dataclass(slots=True)
class Service:
    """A running `asyncbuild`; `log` grows as it runs."""

    process: Process
    log: list[Mapping[str, Any]] = field(default_factory=list)

    def terminate(self) -> None:
        """Send SIGTERM."""
        send_signal(self.process, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the whole process group, which may have ended by itself a moment ago."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def wait(self, seconds: float = 90) -> int:
        """Return the exit code, once the process has ended."""
        with anyio.fail_after(seconds):
            return await self.process.wait()

    async def read(self) -> bytes:
        """Return all that it writes to standard output, from here to its end."""
        assert self.process.stdout is not None
        return b"".join([chunk async for chunk in self.process.stdout])

    async def wait_logged(self, event: str, seconds: float = 90) -> Mapping[str, Any]:
        """Return the first log line of that name."""
        with anyio.fail_after(seconds):
            while True:
                for line in self.log:
                    if line.get("event") == event:
                        return line
                await anyio.sleep(0.02)

    def rss_bytes(self) -> int:
        """Return resident memory now, without children."""
        text = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        line = next(line for line in text.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


@asynccontextmanager
async def open_service(
    variables: Mapping[str, str],
    command: str = "serve",
    *arguments: str,
    program: Sequence[str] = (sys.executable, "-m", "asyncbuild"),
) -> AsyncIterator[Service]:
    """Run `asyncbuild COMMAND`; killed at the end if it has not ended by itself."""
    process = await anyio.open_process(
        [*program, command, *arguments],
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    service = Service(process)

    async def read_log() -> None:
        rest = b""
        assert process.stderr is not None
        async for chunk in process.stderr:
            *lines, rest = (rest + chunk).split(b"\n")
            service.log += [_line(line) for line in lines if line]

    async with process, anyio.create_task_group() as tasks:
        tasks.start_soon(read_log)
        try:
            yield service
        finally:
            if process.returncode is None:
                service.kill()
                with anyio.CancelScope(shield=True):
                    await process.wait()


def _line(line: bytes) -> Mapping[str, Any]:
    try:
        return dict(orjson.loads(line))
    except (orjson.JSONDecodeError, ValueError):
        return {"event": "text", "text": line.decode("utf-8", "replace")}


async def make_pushes(
    stack: Stack, *, repositories: int, pushes: int, seed: int = 1
) -> list[list[Pushed]]:
    """Push to so many repositories; return one list of pushes for each, not sent yet."""
    branches = ["main", "main", "main", "feature/a", "fix/b"]
    random = Random(seed)  # noqa: S311 - repeatable, not secret
    made: list[list[Pushed]] = []
    for number in range(repositories):
        name = f"repository-{number:03d}"
        words = [random.choice(branches) for _ in range(pushes)]
        story = await SampleRepository.create(stack.directory, name, words, seed=seed + number)
        made.append([push async for push in story.iter_pushes(_never_wait)])
    return made


async def _never_wait(_push: Pushed) -> None:
    return


async def send(stack: Stack, body: str, group: str) -> None:
    """Send any text to the queue."""
    await stack.sqs.send_message(
        QueueUrl=stack.settings.queue.url, MessageBody=body, MessageGroupId=group
    )


async def wait_settled(stack: Stack, seconds: float = 120) -> None:
    """Wait until the queue is empty, messages in flight included."""
    with anyio.fail_after(seconds):
        while await stack.count_waiting():  # noqa: ASYNC110 - a queue raises no event
            await anyio.sleep(0.05)


async def read_dead_letters(stack: Stack, name: str = DEAD_LETTERS) -> Sequence[Mapping[str, Any]]:
    """Return everything in a dead-letter queue, with attributes; it is empty afterwards."""
    url = (await stack.sqs.get_queue_url(QueueName=name))["QueueUrl"]
    found: list[Mapping[str, Any]] = []
    while True:
        answer = await stack.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=0,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            return found
        for message in messages:
            found.append(dict(message))
            await stack.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
