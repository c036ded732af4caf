"""The service: opens and closes all resources, handles signals, stops in order.

Stopping is not cancelling. The first signal, or the end of a drain, stops the receiving; messages
in flight are settled in order or released. Shortly before the grace ends, those that are not on
their last step are released; a second signal, or the end of the grace, cancels.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from types import FrameType

import anyio
from anyio.abc import TaskStatus

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.session import Aws
from asyncbuild.aws.task_protection import open_protection
from asyncbuild.builds.codebuild import CodeBuild
from asyncbuild.builds.codepipeline import CodePipeline
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.builds.starters import Starters
from asyncbuild.checks.memory_footprint import excess
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError
from asyncbuild.domain.events.service_events import (
    ServiceGraceEnds,
    ServiceMemory,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
)
from asyncbuild.forges.registry import open_hosts
from asyncbuild.forges.remotes import Remotes, signing
from asyncbuild.git.mirrors.cache import open_mirrors
from asyncbuild.git.process.version import require_git
from asyncbuild.pushes.pipeline import Pipeline, Services
from asyncbuild.queue.consumer import Consumer
from asyncbuild.queue.sqs import Queue
from asyncbuild.runtime.child_guard import open_guard
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.runtime.signals import ending_signals
from asyncbuild.status.server import Sources, open_status
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.engine import open_engine

# Parts of the grace that releasing, and then cancelling, may take before the process is killed.
_EXPIRE_BEFORE_END = 1 / 4
_EXPIRE_AT_MOST_SECONDS = 20.0
_SIGNALS_MOST = 10


@asynccontextmanager
async def open_consumer(settings: Settings, aws: Aws) -> AsyncIterator[Consumer]:
    """Open everything between the queue and CodeBuild, in order; close it in reverse.

    Raises:
        ConfigError: A required setting is empty; the queue is not a FIFO queue, or has no
            dead-letter queue; a secret is missing.
    """
    _require(settings)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pollers = await enter(aws.open_sqs(pool=settings.queue.polls + 1))
        control = await enter(aws.open_sqs(pool=4 * settings.consumers + 2 * settings.lanes.most))
        uploads = settings.consumers * (settings.storage.parts_in_flight + 2)
        s3 = await enter(aws.open_s3(pool=uploads))
        codebuild = await enter(aws.open_codebuild(pool=settings.consumers + 2))
        codepipeline = await enter(aws.open_codepipeline(pool=settings.consumers + 2))
        engine = await enter(open_engine(settings.archive))
        hosts = await enter(open_hosts(settings, aws))
        credentials = signing(AccountCredentials(aws, settings))
        remotes = Remotes(settings.git, credentials, origins=hosts.origin, hosted=hosts.repository)
        mirrors = await enter(open_mirrors(settings.git, remotes, forges=settings.forges))
        store = Store(s3, settings.storage)
        services = Services(
            mirrors=mirrors,
            engine=engine,
            budget=MemoryBudget(settings.archive.memory_budget_bytes),
            store=store,
            starters=Starters(CodeBuild(codebuild, settings.builds), CodePipeline(codepipeline)),
            ledger=Ledger(store, prefix=settings.storage.ledger_prefix),
            hosts=hosts.reader,
            results=_result_ledger(store, settings),
        )
        pipeline = Pipeline(services, settings)
        queue = Queue(
            polls=pollers,
            control=control,
            url=settings.queue.url,
            dead_letter_url=settings.queue.dead_letter_url,
        )
        await _check(queue, settings)
        protection = await enter(open_protection(_agent_uri(settings)))
        yield Consumer(
            queue=queue,
            pipeline=pipeline,
            settings=settings,
            hold=protection.hold,
        )


async def run(
    settings: Settings,
    *,
    drain: bool = False,
    stop: anyio.Event | None = None,
    signals: Sequence[signal.Signals] | None = None,
) -> None:
    """Serve until told to stop; with `drain`, until the queue stays empty for one long poll.

    Args:
        settings: All settings.
        drain: End when there is nothing left to do.
        stop: Stops the service like a first signal, if it runs inside another program.
        signals: Signals to listen to; by default `ending_signals`; none if the process has another
            owner.

    Raises:
        Fatal: The service cannot work; what was in flight is released.
        Unsupported: git is missing, or older than the oldest version that the tests run with.
    """
    await require_git()
    if told := excess(settings):
        emit(ServiceMemory(reason=told))
    with open_guard():
        await _run(settings, drain=drain, stop=stop, signals=signals)


async def _run(
    settings: Settings,
    *,
    drain: bool,
    stop: anyio.Event | None,
    signals: Sequence[signal.Signals] | None,
) -> None:
    aws = Aws(settings)
    async with anyio.create_task_group() as tasks:
        switch = _Switch(settings, tasks.cancel_scope)
        heard = ending_signals() if signals is None else signals
        if heard:
            await tasks.start(_listen, heard, switch)
        async with open_consumer(settings, aws) as consumer, _open_status(settings, aws, consumer):
            switch.consumer = consumer
            if stop is not None:
                tasks.start_soon(_stop_when, stop, switch)
            emit(
                ServiceStarted(
                    queue=settings.queue.url,
                    bucket=settings.storage.bucket,
                    consumers=settings.consumers,
                    drain=drain,
                )
            )
            await consumer.run(drain=drain)
        emit(ServiceStopped())
        tasks.cancel_scope.cancel()


def _open_status(
    settings: Settings, aws: Aws, consumer: Consumer
) -> AbstractAsyncContextManager[None]:
    credentials = AccountCredentials(aws, settings)
    own = partial(credentials.get, "", "")
    return open_status(settings, Sources(consumer.statistics, consumer.depth, own))


class _Switch:
    """Switch that stops the service: in order; at once before it runs, or on a second signal."""

    def __init__(self, settings: Settings, scope: anyio.CancelScope) -> None:
        self._grace = settings.shutdown_grace_seconds
        self._scope = scope
        self.consumer: Consumer | None = None

    def cut(self) -> None:
        """Cancel everything; what is in flight is released."""
        self._scope.cancel()

    async def turn_off(self) -> None:
        """Stop, expire, cancel: each after the time of the one before."""
        if self.consumer is None:  # nothing was received yet
            self.cut()
            return
        reserve = min(_EXPIRE_AT_MOST_SECONDS, self._grace * _EXPIRE_BEFORE_END)
        self.consumer.stop()
        await anyio.sleep(self._grace - reserve)
        emit(ServiceGraceEnds(remaining_seconds=reserve))
        self.consumer.expire()
        await anyio.sleep(reserve / 2)
        self.cut()


async def _listen(
    signals: Sequence[signal.Signals], switch: _Switch, *, task_status: TaskStatus[None]
) -> None:
    with _receiving(signals) as received:
        task_status.started()
        async with anyio.create_task_group() as tasks:
            first = True
            async for number in received:
                if not first and number == signal.SIGHUP:
                    continue  # when a terminal closes, shell and kernel send one each
                emit(ServiceStopping(signal=number.name, second=not first))
                if not first:
                    switch.cut()
                    return
                first = False
                tasks.start_soon(switch.turn_off)


@contextmanager
def _receiving(signals: Sequence[signal.Signals]) -> Iterator[AsyncIterator[signal.Signals]]:
    """Yield the signals that arrive in the block; ignore them afterwards, when the process ends.

    `anyio.open_signal_receiver` and asyncio restore the default action of signals when they close,
    even if only for a moment: a signal at that moment would kill the clean-up.
    """
    loop = asyncio.get_running_loop()
    sender, receiver = anyio.create_memory_object_stream[signal.Signals](_SIGNALS_MOST)

    def hear(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(put, signal.Signals(number))

    def put(number: signal.Signals) -> None:
        with suppress(anyio.WouldBlock, anyio.ClosedResourceError):  # further ones change nothing
            sender.send_nowait(number)

    with sender, receiver:
        for number in signals:
            signal.signal(number, hear)
        try:
            yield receiver
        finally:
            for number in signals:
                signal.signal(number, signal.SIG_IGN)


async def _stop_when(stop: anyio.Event, switch: _Switch) -> None:
    await stop.wait()
    await switch.turn_off()


def _agent_uri(settings: Settings) -> str | None:
    """Return the URI of the ECS agent for this container; None without one."""
    return os.environ.get("ECS_AGENT_URI") if settings.scale_in_protection == "auto" else None


def _result_ledger(store: Store, settings: Settings) -> ResultLedger | None:
    """Return the ledger of results; None without a queue of results: then none is asked for."""
    prefix = settings.storage.ledger_prefix
    return ResultLedger(store, prefix=prefix) if settings.results.url else None


def _require(settings: Settings) -> None:
    missing = [
        f"{name} is empty; set it in the file or as {variable}"
        for name, variable, value in (
            ("queue.url", "ASYNCBUILD_QUEUE__URL", settings.queue.url),
            ("storage.bucket", "ASYNCBUILD_STORAGE__BUCKET", settings.storage.bucket),
        )
        if not value
    ]
    if missing:
        raise ConfigError("\n  ".join(["the configuration is not whole:", *missing]))


async def _check(queue: Queue, settings: Settings) -> None:
    facts = await queue.facts()
    if not facts.fifo:
        raise ConfigError(
            f"queue {settings.queue.url} is not a FIFO queue, so it keeps no order",
            remedy="make a queue whose name ends in .fifo, and let the rule deliver to it",
        )
    await queue.find_dead_letter_queue(facts)
