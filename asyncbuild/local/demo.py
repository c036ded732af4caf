"""Demo of the whole service on this machine alone: pushes become builds in ten or twenty seconds.

Real `git push`, a real queue and bucket (ministack), a stand-in for CodeBuild, and the service as
it runs in production. The display while it runs shows the service's events; the verdict at the end
comes from the servers.
"""

import signal
import sys
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, Protocol

import anyio
import anyio.to_thread
import orjson
from rich.console import Console

from asyncbuild.builds.requests.start_build import EVENT_ID
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Fatal
from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.events.service_events import ServiceStarted
from asyncbuild.git.process.version import require_git
from asyncbuild.local import display as show
from asyncbuild.local import keep as keeping
from asyncbuild.local.board import Board
from asyncbuild.local.display import Row
from asyncbuild.local.replay import Replay, names_of
from asyncbuild.local.servers import journal
from asyncbuild.local.servers.journal import AcceptedStart
from asyncbuild.local.servers.packages import MINISTACK, to_install
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import Findings, Pushed, verify
from asyncbuild.local.workload import STORIES, SampleRepository
from asyncbuild.runtime import log as logs
from asyncbuild.runtime.emit import subscribed
from asyncbuild.runtime.signals import open_until_signal

_POLL_SECONDS = 0.1
_OPENING_DEADLINE_SECONDS = 10.0  # a slow service does not delay the pushes for longer
_BUILT_DEADLINE_SECONDS = 30.0  # before a branch is deleted: its last push should be built first
_SILENCE_SECONDS = 60.0  # no push settled for so long: the others count as missing
_PAUSES_SECONDS = (0.0, 0.0, 0.3, 0.9)  # between two pushes of one repository, one at random


class Serve(Protocol):
    """Service: `asyncbuild.commands.serve.run`, which is above this package."""

    def __call__(
        self,
        settings: Settings,
        *,
        stop: anyio.Event,
        signals: Sequence[signal.Signals],
    ) -> Awaitable[None]:
        """Serve until `stop`."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Contents of the demo: made-up repositories, or the last `pushes` commits of each of yours."""

    repositories: tuple[str, ...] = ()
    pushes: int = 20
    as_json: bool = False
    keep: bool = False
    seed: int = 1


async def run(options: DemoOptions, serve: Serve) -> int:
    """Run the demo; return the exit code: 0 if all went well, 1 if the servers found a fault.

    SIGINT, SIGTERM and SIGHUP end it, with nothing left behind: 130, 143 and 129 before its
    verdict, with `keep` the verdict's code after it.

    Raises:
        StageError: A server, git or the service could not do its work.
    """
    await require_git()
    # Around everything: a second Ctrl-C must not kill the clean-up after the first.
    async with open_until_signal() as codes:
        names = names_of(options.repositories) if options.repositories else list(STORIES)
        console = show.open_console(as_json=options.as_json)
        async with AsyncExitStack() as stack:
            if what := to_install(MINISTACK):
                console.print(f"  {what}", soft_wrap=True)
            with console.status("Starting SQS, S3 and CodeBuild on 127.0.0.1 …"):
                cloud = await stack.enter_async_context(open_stack(names))
                sources = await _make_sources(cloud.directory, options, names)
            performance = _Performance(cloud, sources, console, options)
            await performance.play(serve, codes)
    return codes[0]


async def _make_sources(
    directory: Path, options: DemoOptions, names: Sequence[str]
) -> list[SampleRepository | Replay]:
    sources: list[SampleRepository | Replay] = []
    for source, name in zip(options.repositories, names, strict=False):
        sources.append(await Replay.create(directory, source, pushes=options.pushes, name=name))
    if not options.repositories:
        for name, story in STORIES.items():
            sources.append(
                await SampleRepository.create(directory, name, story.split(), seed=options.seed)
            )
    return sources


class _Performance:
    """One demo: repositories are pushed to while the service runs, then the servers are read."""

    def __init__(
        self,
        cloud: Stack,
        sources: Sequence[SampleRepository | Replay],
        console: Console,
        options: DemoOptions,
    ) -> None:
        self._cloud = cloud
        self._sources = sources
        self._console = console
        self._options = options
        self._board = Board({source.remote.name: source.length for source in sources})
        self._pushes: list[Pushed] = []
        self._opened = anyio.Event()

    async def play(self, serve: Serve, codes: list[int]) -> None:
        """Push, wait, verify and print; `codes` gets the exit code."""
        logs.mute()
        expected = self._board.expected
        self._console.print(show.title_of(len(expected), sum(expected.values())))
        stop, served = anyio.Event(), anyio.Event()

        async def run_service() -> None:
            with subscribed(self._board.hear, self._hear_opening):
                await serve(self._cloud.settings, stop=stop, signals=())
            served.set()
            if not stop.is_set():
                raise Fatal("the service ended before it was told to")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_service)
            with anyio.move_on_after(_OPENING_DEADLINE_SECONDS):
                await self._opened.wait()
            async with show.open_progress(self._console, self._board):
                await self._push_all()
                await self._wait_settled()
                if not self._options.keep:
                    stop.set()
                    await served.wait()
            findings = await self._verify()
            codes.append(1 if findings.faults else 0)
            if self._options.keep:
                self._say_where()
                await anyio.sleep_forever()

    def _hear_opening(self, told: Emitted) -> None:
        if isinstance(told.event, ServiceStarted):
            if self._board.page:
                self._console.print(f"  Watch it at {self._board.page}\n", soft_wrap=True)
            self._opened.set()

    async def _push_all(self) -> None:
        async with anyio.create_task_group() as pushers:
            for source in self._sources:
                pushers.start_soon(self._push_one_by_one, source)

    async def _push_one_by_one(self, source: SampleRepository | Replay) -> None:
        random = Random(f"{self._options.seed}/{source.remote.name}/pauses")  # noqa: S311 - repeatable, not secret
        async for push in source.iter_pushes(self._wait_built):
            self._board.add(push)
            self._pushes.append(push)
            await self._cloud.send(push)
            await anyio.sleep(random.choice(_PAUSES_SECONDS))

    async def _wait_built(self, push: Pushed) -> None:
        with anyio.move_on_after(_BUILT_DEADLINE_SECONDS):
            await self._cloud.standin.wait_started(
                lambda build: build.variables.get(EVENT_ID) == push.id
            )

    async def _wait_settled(self) -> None:
        """Wait until the queue is empty, or no message has left it for long."""
        left = await self._cloud.count_waiting()
        while left:
            with anyio.move_on_after(_SILENCE_SECONDS) as silence:
                while (now := await self._cloud.count_waiting()) == left:  # noqa: ASYNC110 - SQS has to be polled
                    await anyio.sleep(_POLL_SECONDS)
                left = now
            if silence.cancelled_caught:
                return

    async def _verify(self) -> Findings:
        with self._console.status("Reading every archive back …"):
            started = await anyio.to_thread.run_sync(journal.read, self._cloud.journal)
            findings = await verify(self._pushes, started, s3=self._cloud.s3, bucket=BUCKET)
        rows = self._rows(started, findings)
        if self._options.as_json:
            sys.stdout.write(orjson.dumps(_document(rows, findings)).decode() + "\n")
            sys.stdout.flush()
        else:
            self._console.print(show.table_of(rows))
            self._console.print(show.ways_of(rows))
            self._console.print(show.verdict_of(findings, self._board.warnings))
        return findings

    def _rows(self, started: Sequence[AcceptedStart], findings: Findings) -> list[Row]:
        builds: dict[str, AcceptedStart] = {}
        for build in started:
            builds.setdefault(build.variables.get(EVENT_ID, ""), build)
        in_lanes = chain.from_iterable(self._board.pushes.values())
        ways = self._board.ways
        return [
            _row(push, builds.get(push.id), findings.sizes.get(push.id), ways.get(push.id, ""))
            for push in in_lanes
        ]

    def _say_where(self) -> None:
        text = keeping.text_of(self._cloud, page=self._board.page, repository=self._first_name())
        self._console.print(text, soft_wrap=True, markup=False)

    def _first_name(self) -> str:
        return self._sources[0].remote.name


def _row(push: Pushed, build: AcceptedStart | None, size_bytes: int | None, way: str) -> Row:
    if build is None:
        return Row(push, size_bytes, way=way)
    return Row(push, size_bytes, build.time - push.time, build.build, way)


def _document(rows: Sequence[Row], findings: Findings) -> dict[str, Any]:
    return {
        "pushes": findings.pushes,
        "built": findings.built,
        "uploaded": findings.uploaded,
        "missing": len(findings.missing),
        "duplicated": len(findings.duplicated),
        "out_of_order": len(findings.out_of_order),
        "unexpected": len(findings.unexpected),
        "wrong_content": len(findings.wrong_content),
        "faults": findings.faults,
        "builds": [
            {
                "repository": row.push.repository,
                "ref": row.push.ref,
                "commit": row.push.commit,
                "event_id": row.push.id,
                "build": row.build,
                "size_bytes": row.size_bytes,
                "archive_kind": row.way,
                "seconds": round(row.seconds, 3) if row.seconds is not None else None,
            }
            for row in rows
            if row.build is not None
        ],
    }
