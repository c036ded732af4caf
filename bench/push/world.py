"""Repositories that are pushed to in waves, and the two ways that work on them."""

import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import anyio
import orjson
from support.service import Service, environment, open_service
from support.tree_cpu import Cpu

from asyncbuild.local.content import module
from asyncbuild.local.expected_tree import run_git
from asyncbuild.local.stack import Stack
from asyncbuild.local.verify import Pushed
from asyncbuild.local.workload import PushedRepository, event_of

_BRANCHES = ("main", "main", "main", "feature/a", "fix/b")
_EPOCH = 1_790_000_000
_BATCH = 10  # most entries of SendMessageBatch
_POLL_SECONDS = 0.01
_SETTLED_SECONDS = 300
_LAST_STEPS_SECONDS = 0.05
_HERE = Path(__file__).parent
NAMES = ("service", "by hand")


class Repository:
    """Small bare repository that is pushed to: text files of one or two kilobytes.

    Args:
        directory: Where it is made.
        name: Its name.
        files: Number of files.
    """

    def __init__(self, directory: Path, name: str, *, files: int) -> None:
        self._remote = PushedRepository(name, directory)
        self._random = Random(name)  # noqa: S311 - repeatable, not secret
        self._paths = [f"src/{number % 7}/module_{number:03d}.py" for number in range(files)]
        self._tips: dict[str, str] = {}
        self._commits = 0

    async def push(self) -> Pushed:
        """Commit a change of two files to a branch, mostly main."""
        branch = self._random.choice(_BRANCHES) if self._tips else "main"
        old = self._tips.get(branch)
        parent = old or self._tips.get("main")
        changed = self._random.sample(self._paths, 2) if parent else self._paths
        self._commits += 1
        lines = [
            f"commit refs/heads/{branch}",
            "mark :1",
            f"committer Bench <bench@example.com> {_EPOCH + self._commits} +0000",
            "data 6\nChange",
            *([f"from {parent}"] if parent else []),
        ]
        for path in changed:
            content = module(self._random)
            lines += [f"M 644 inline {path}", f"data {len(content)}\n{content}"]
        given = "\n".join([*lines, "get-mark :1", "done", ""]).encode()
        told = await run_git(
            "fast-import", "--quiet", directory=self._remote.directory, given=given
        )
        self._tips[branch] = told.decode().strip()
        return self._remote.pushed(f"refs/heads/{branch}", self._tips[branch], old)


@dataclass(slots=True)
class Repositories:
    """Repositories of a benchmark; each wave is one push to each."""

    each: Sequence[Repository]

    @classmethod
    async def create(cls, directory: Path, names: Sequence[str], *, files: int) -> "Repositories":
        """Make them, empty.

        Args:
            directory: Directory of the stack.
            names: Their names.
            files: Number of files in each.
        """
        made = []
        for name in names:
            remote = directory / "remotes" / name
            await run_git("init", "--quiet", "--bare", "--initial-branch=main", str(remote))
            made.append(Repository(remote, name, files=files))
        return cls(made)

    async def wave(self, most: int | None = None) -> list[Pushed]:
        """Push once to each of the first `most` repositories; nothing is sent yet."""
        return [await each.push() for each in self.each[:most]]


@dataclass(frozen=True, slots=True)
class PushWay:
    """One way to work on pushes: a running process, and the queue that it reads."""

    name: str
    queue_url: str
    service: Service
    stack: Stack

    async def work(self, pushes: Sequence[Pushed]) -> tuple[Cpu, float]:
        """Send the pushes and wait until they are settled; return processor time and seconds."""
        pid = self.service.process.pid
        before, begun = Cpu.of_tree(pid), time.monotonic()
        await self._send(pushes)
        wall = await self._settled() - begun
        await anyio.sleep(_LAST_STEPS_SECONDS)
        return Cpu.of_tree(pid) - before, wall

    async def _send(self, pushes: Sequence[Pushed]) -> None:
        for first in range(0, len(pushes), _BATCH):
            await self.stack.sqs.send_message_batch(
                QueueUrl=self.queue_url,
                Entries=[
                    {
                        "Id": str(number),
                        "MessageBody": orjson.dumps(event_of(push)).decode(),
                        "MessageGroupId": push.group,
                    }
                    for number, push in enumerate(pushes[first : first + _BATCH])
                ],
            )

    async def _settled(self) -> float:
        with anyio.fail_after(_SETTLED_SECONDS):
            while True:
                if self.service.process.returncode is not None:
                    raise SystemExit(f"{self.name} ended: {self.service.log[-3:]}")
                answer = await self.stack.sqs.get_queue_attributes(
                    QueueUrl=self.queue_url,
                    AttributeNames=[
                        "ApproximateNumberOfMessages",
                        "ApproximateNumberOfMessagesNotVisible",
                    ],
                )
                if not any(map(int, answer["Attributes"].values())):
                    return time.monotonic()
                await anyio.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class PushWays:
    """Makes the ways, with caches that last from one run of their processes to the next.

    Attributes:
        stack: Servers and settings.
        queues: Queue of each way.
    """

    stack: Stack
    queues: Mapping[str, str]

    @classmethod
    async def create(cls, stack: Stack) -> "PushWays":
        """Make the queue of the steps by hand beside that of the service."""
        made = await stack.sqs.create_queue(
            QueueName="by-hand.fifo",
            Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"},
        )
        (stack.directory / "by-hand").mkdir()
        queues = zip(NAMES, (stack.settings.queue.url, made["QueueUrl"]), strict=True)
        return cls(stack, dict(queues))

    @asynccontextmanager
    async def open(
        self, name: str, *, endpoint_url: str = "", path: Path | None = None
    ) -> AsyncIterator[PushWay]:
        """Start the process of a way; killed at the end.

        Args:
            name: One of `NAMES`.
            endpoint_url: A proxy in front of all servers; empty for none.
            path: Directory that is searched for programs first.
        """
        variables = self.environment(name, endpoint_url)
        if path is not None:
            variables["PATH"] = f"{path}:{os.environ['PATH']}"
        script = (sys.executable, str(_HERE / "by_hand.py"))
        opened = (
            open_service(variables)
            if name == "service"
            else open_service(variables, str(self.stack.directory / "by-hand"), program=script)
        )
        async with opened as service:
            if name == "service":
                await service.wait_logged("service.started")
            yield PushWay(name, self.queues[name], service, self.stack)

    def environment(self, name: str, endpoint_url: str = "") -> dict[str, str]:
        """Return the settings of a way as variables.

        Args:
            name: One of `NAMES`.
            endpoint_url: A proxy in front of all servers; empty for none.
        """
        proxied = {"endpoint_url": endpoint_url} if endpoint_url else {}
        return environment(
            self.stack, queue={"url": self.queues[name]}, aws=proxied, builds=proxied
        )
