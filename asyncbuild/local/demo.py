"""Demo of the whole service on this machine alone: pushes become builds, which pass or fail.

Real `git push`, a real queue and bucket (ministack), a stand-in for CodeBuild, and the service as
it runs in production. The display while it runs shows the service's events; the verdict at the end
comes from the servers.
"""

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from typing import Protocol

import anyio
import anyio.to_thread
import orjson
from rich.console import Console

from asyncbuild.builds.requests.start_build import EVENT_ID
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Fatal
from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.events.reconcile_events import PushFound
from asyncbuild.domain.events.service_events import ServiceStarted
from asyncbuild.git.process.version import require_git
from asyncbuild.local import display as show
from asyncbuild.local import keep as keeping
from asyncbuild.local.board import Board
from asyncbuild.local.build_ends import compare_results, count_results, read_results
from asyncbuild.local.demo_rows import DemoFindings, document_of, rows_of
from asyncbuild.local.forge.hosting import open_hosting
from asyncbuild.local.forge.status_ends import (
    builds_of,
    compare_statuses,
    count_ended,
    truth_of,
)
from asyncbuild.local.lost_pushes import LostPushes, choose_lost, with_rounds
from asyncbuild.local.replay import Replay, names_of
from asyncbuild.local.servers import journal
from asyncbuild.local.servers.build_script import SeededScripts
from asyncbuild.local.servers.event_sender import EventFaults, open_event_sender
from asyncbuild.local.servers.packages import MINISTACK, to_install
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import Pushed, verify
from asyncbuild.local.workload import STORIES, SampleRepository
from asyncbuild.runtime import log as logs
from asyncbuild.runtime.emit import subscribed
from asyncbuild.runtime.signals import open_until_signal

_POLL_SECONDS = 0.1
_OPENING_DEADLINE_SECONDS = 10.0  # a slow service does not delay the pushes for longer
_BUILT_DEADLINE_SECONDS = 30.0  # before a branch is deleted: its last push should be built first
_SILENCE_SECONDS = 60.0  # no push settled for so long: the others count as missing
_RESULT_SILENCE_SECONDS = 20.0  # no result or status came for so long: the others are missing
_HOSTED = ("search", "handbook")  # on the stand-in forge: small, as HTTP costs more
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
    """Contents of the demo: made-up repositories, or the last `pushes` commits of each of yours.

    The events of `lose` pushes are dropped, and a round has to find them.
    """

    repositories: tuple[str, ...] = ()
    pushes: int = 20
    as_json: bool = False
    keep: bool = False
    seed: int = 1
    lose: int = 0


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
                await stack.enter_async_context(_open_builds(cloud, options.seed))
                hosted = () if options.repositories else _HOSTED
                hosting = await stack.enter_async_context(open_hosting(cloud, hosted))
                sources = await _make_sources(cloud.directory, options, names)
                words = {each.remote.name: each.words for each in sources}
                chosen = choose_lost(words, options.lose, options.seed)
                hosting = await with_rounds(hosting) if chosen else hosting
            performance = _Performance(LostPushes(hosting, chosen), sources, console, options)
            await performance.play(serve, codes)
    return codes[0]


@asynccontextmanager
async def _open_builds(cloud: Stack, seed: int) -> AsyncIterator[None]:
    """Let builds run for a moment, some fail, and tell of their ends not always in order.

    Some builds are copied by another user, as a retry in the console does: they must not count.
    """
    cloud.standin.script = SeededScripts(
        seed, failed=0.15, fault=0.02, timed_out=0.02, build_seconds=(0.3, 1.2)
    )
    cloud.standin.foreign_share = 0.05
    faults = EventFaults(seed, doubled=0.1, disordered=0.1, late=0.1, late_seconds=0.5)
    async with open_event_sender(
        cloud.standin, cloud.sqs, cloud.settings.results.url, faults=faults
    ):
        yield


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
        losses: LostPushes,
        sources: Sequence[SampleRepository | Replay],
        console: Console,
        options: DemoOptions,
    ) -> None:
        self._losses = losses
        self._hosting = losses.hosting
        self._cloud = self._hosting.cloud
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
            with subscribed(self._hear_found, self._board.hear, self._hear_opening):
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
                await self._losses.find()
                await self._wait_settled()
                await self._wait_results()
                if not self._options.keep:
                    stop.set()
                    await served.wait()
            codes.append(1 if await self._verify() else 0)
            if self._options.keep:
                self._say_where()
                await anyio.sleep_forever()

    def _hear_opening(self, told: Emitted) -> None:
        if isinstance(told.event, ServiceStarted):
            if self._board.page:
                self._console.print(f"  Watch it at {self._board.page}\n", soft_wrap=True)
            self._opened.set()

    def _hear_found(self, told: Emitted) -> None:
        if not isinstance(told.event, PushFound) or told.push is None:
            return
        push = told.push
        lost = self._losses.note_found(push.repository, push.ref, push.commit, push.event_id)
        if lost is not None:
            self._board.replace(lost, self._losses.found[-1])

    async def _push_all(self) -> None:
        async with anyio.create_task_group() as pushers:
            for source in self._sources:
                pushers.start_soon(self._push_one_by_one, source)

    async def _push_one_by_one(self, source: SampleRepository | Replay) -> None:
        random = Random(f"{self._options.seed}/{source.remote.name}/pauses")  # noqa: S311 - repeatable, not secret
        number = 0
        async for push in source.iter_pushes(self._wait_built):
            self._board.add(push)
            await self._losses.send(push, number)
            if push not in self._losses.lost:
                self._pushes.append(push)
            number += 1
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

    async def _wait_results(self) -> None:
        """Wait until each build has a result and a status, or none has come for long."""
        started, hosted = self._cloud.standin.started, self._hosting.names
        wanted = len(started) + sum(each.project in hosted for each in started)
        there = await self._count_results()
        while there < wanted:
            with anyio.move_on_after(_RESULT_SILENCE_SECONDS) as silence:
                while (now := await self._count_results()) == there:  # noqa: ASYNC110 - S3 has to be polled
                    await anyio.sleep(_POLL_SECONDS)
                there = now
            if silence.cancelled_caught:
                return

    async def _count_results(self) -> int:
        """Return the number of results that are recorded, and of statuses that are ends."""
        settings = self._cloud.settings.storage
        recorded = await count_results(self._cloud.s3, settings.bucket, settings.ledger_prefix)
        return recorded + count_ended(self._hosting.forge)

    async def _verify(self) -> bool:
        """Print what the servers tell; return whether there was a fault."""
        cloud, settings = self._cloud, self._cloud.settings.storage
        self._pushes += self._losses.in_order
        with self._console.status("Reading every archive and result back …"):
            started = await anyio.to_thread.run_sync(journal.read, cloud.journal)
            findings = await verify(self._pushes, started, s3=cloud.s3, bucket=BUCKET)
            records = await read_results(cloud.s3, settings.bucket, settings.ledger_prefix)
            builds = [each.build for each in started]
            results = compare_results(cloud.standin, builds, records)
            hosted = builds_of(self._pushes, started, self._hosting.names)
            truth = partial(truth_of, cloud.standin)
            statuses = compare_statuses(self._hosting.forge, hosted, truth)
        found = DemoFindings(findings, results, statuses)
        in_lanes = chain.from_iterable(self._board.pushes.values())
        ways = self._board.ways
        rows = rows_of(in_lanes, started, found, ways=ways)
        if self._options.as_json:
            document = document_of(rows, found)
            document |= {"lost": len(self._losses.lost), "found": len(self._losses.found)}
            sys.stdout.write(orjson.dumps(document).decode() + "\n")
            sys.stdout.flush()
        else:
            self._console.print(show.table_of(rows))
            self._console.print(show.ways_of(rows))
            self._console.print(show.verdict_of(findings, found.faults, self._board.warnings))
            self._console.print(show.results_of(rows))
            if self._losses.lost:
                self._console.print(show.losses_of(len(self._losses.lost), len(self._losses.found)))
        return bool(found.faults)

    def _say_where(self) -> None:
        text = keeping.text_of(self._cloud, page=self._board.page, repository=self._first_name())
        self._console.print(text, soft_wrap=True, markup=False)

    def _first_name(self) -> str:
        return self._sources[0].remote.name
