"""The service: opens and closes all resources, handles signals, stops in order.

Stopping is not cancelling. The first signal, or the end of a drain, stops the receiving; messages
in flight are settled in order or released. Shortly before the grace ends, those that are not on
their last step are released; a second signal, or the end of the grace, cancels.
"""

import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import anyio

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.session import Aws
from asyncbuild.aws.task_protection import open_protection
from asyncbuild.builds.codebuild import CodeBuild
from asyncbuild.builds.codepipeline import CodePipeline
from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.builds.service_mark import ServiceMark
from asyncbuild.builds.starters import Starters
from asyncbuild.checks.memory_footprint import excess
from asyncbuild.commands.consume_all import consume_all
from asyncbuild.commands.open_repositories import OpenedRepositories, open_repositories
from asyncbuild.commands.service_switch import ServiceSwitch, listen, stop_when
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError, StageError
from asyncbuild.domain.events.service_events import (
    ServiceMemory,
    ServiceStarted,
    ServiceStopped,
)
from asyncbuild.git.process.version import require_git
from asyncbuild.pushes.pipeline import Pipeline, Services
from asyncbuild.queue.consumer import Consumer
from asyncbuild.queue.polling import Polling
from asyncbuild.queue.sqs import Queue
from asyncbuild.reconcile.open_reconcile import open_reconcile
from asyncbuild.reports.open_reports import OpenedReports, open_reports
from asyncbuild.reports.outcomes.open_outcomes import open_outcomes
from asyncbuild.reports.report_sender import ReportSender
from asyncbuild.reports.reported_starts import ReportedStarts
from asyncbuild.results.open_results import EndFollowers, OpenedResults, open_results
from asyncbuild.results.result_consumers import ResultConsumers
from asyncbuild.results.superseding.cancel_worker import CancelWorker
from asyncbuild.results.superseding.open_cancelling import OpenedCancelling, open_cancelling
from asyncbuild.runtime.child_guard import open_guard
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.garbage import rare_collections
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.runtime.signals import ending_signals
from asyncbuild.status.server import Sources, open_status
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.engine import open_engine

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient


@asynccontextmanager
async def open_consumer(
    settings: Settings,
    aws: Aws,
    reports: ReportSender | None = None,
    repositories: OpenedRepositories | None = None,
    supersedes: CancelWorker | None = None,
) -> AsyncIterator[Consumer]:
    """Open everything between the queue and CodeBuild, in order; close it in reverse.

    Args:
        settings: All settings.
        aws: Session of the service.
        reports: Reports what is started; None for no reports.
        repositories: Access to repositories; None to open it here.
        supersedes: Stops older builds of a ref; None if no rule wants that.

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
        if repositories is None:
            repositories = await enter(open_repositories(settings, aws))
        store, prefix = Store(s3, settings.storage), settings.storage.ledger_prefix
        services = Services(
            mirrors=repositories.mirrors,
            engine=engine,
            budget=MemoryBudget(settings.archive.memory_budget_bytes),
            store=store,
            starters=Starters(CodeBuild(codebuild, settings.builds), CodePipeline(codepipeline)),
            ledger=Ledger(store, prefix=prefix),
            hosts=repositories.hosts.reader,
            contents=ContentLedger(store, prefix=prefix),
            results=_starts(store, settings, reports),
            skips=reports,
            supersedes=supersedes,
        )
        queue = _queue(settings, pollers, control)
        await _check(queue, settings)
        with suppress(StageError):  # the next start writes it
            await ServiceMark(store, prefix=prefix).write(datetime.now(UTC))
        hold = (await enter(open_protection(_agent_uri(settings)))).hold
        pipeline = Pipeline(services, settings)
        yield Consumer(queue=queue, pipeline=pipeline, settings=settings, hold=hold)


def _queue(settings: Settings, polls: "SQSClient", control: "SQSClient") -> Queue:
    urls = settings.queue
    return Queue(polls=polls, control=control, url=urls.url, dead_letter_url=urls.dead_letter_url)


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


def _tell_start(settings: Settings, *, drain: bool) -> None:
    emit(
        ServiceStarted(
            queue=settings.queue.url,
            bucket=settings.storage.bucket,
            consumers=settings.consumers,
            drain=drain,
        )
    )


async def _run(
    settings: Settings,
    *,
    drain: bool,
    stop: anyio.Event | None,
    signals: Sequence[signal.Signals] | None,
) -> None:
    aws = Aws(settings)
    async with anyio.create_task_group() as tasks:
        switch = ServiceSwitch(settings, tasks.cancel_scope)
        heard = ending_signals() if signals is None else signals
        if heard:
            await tasks.start(listen, heard, switch)
        async with (
            open_reports(settings, aws) as reports,
            open_repositories(settings, aws) as repositories,
            open_cancelling(settings, aws) as cancelling,
            open_consumer(
                settings, aws, _sender(reports), repositories, _worker(cancelling)
            ) as consumer,
            open_outcomes(settings, aws) as outcomes,
            open_results(
                settings, aws, EndFollowers(_sender(reports), outcomes, cancelling)
            ) as results,
            open_reconcile(settings, aws, repositories.mirrors) as rounds,
            _open_status(settings, aws, consumer, results),
        ):
            others = _others(results, reports)
            first = () if rounds is None else (rounds.polling,)
            seeds = () if repositories.seeds is None else (repositories.seeds,)
            switch.consumers = (*first, consumer, *others, *seeds)
            cancels = () if cancelling is None else (cancelling.worker,)
            if stop is not None:
                tasks.start_soon(stop_when, stop, switch)
            _tell_start(settings, drain=drain)
            with rare_collections():
                await consume_all(first, consumer, (*cancels, *others), drain=drain)
                for each in seeds if drain else ():
                    await each.finish()
        emit(ServiceStopped())
        tasks.cancel_scope.cancel()


def _sender(reports: OpenedReports | None) -> ReportSender | None:
    return None if reports is None else reports.sender


def _worker(cancelling: OpenedCancelling | None) -> CancelWorker | None:
    return None if cancelling is None else cancelling.worker


def _others(
    results: OpenedResults | None, reports: OpenedReports | None
) -> tuple[ResultConsumers | Polling, ...]:
    """Return the consumers of the other queues, in the order in which they fill each other."""
    opened: list[ResultConsumers | Polling] = []
    if results is not None:
        opened.append(results.consumers)
    if reports is not None:
        opened.append(reports.consumers.polling)
    return tuple(opened)


def _open_status(
    settings: Settings, aws: Aws, consumer: Consumer, results: OpenedResults | None
) -> AbstractAsyncContextManager[None]:
    credentials = AccountCredentials(aws, settings)
    own = partial(credentials.get, "", "")
    sources = Sources(consumer.statistics, consumer.depth, own)
    if results is not None:
        depth, find = results.consumers.depth, results.ledger.find_result_of
        sources = replace(sources, results_depth=depth, find_result=find)
    return open_status(settings, sources)


def _agent_uri(settings: Settings) -> str | None:
    """Return the URI of the ECS agent for this container; None without one."""
    return os.environ.get("ECS_AGENT_URI") if settings.scale_in_protection == "auto" else None


def _starts(
    store: Store, settings: Settings, reports: ReportSender | None
) -> ResultLedger | ReportedStarts | None:
    """Return what records starts; None without a queue of results: then none is asked for."""
    if not settings.results.url:
        return None
    ledger = ResultLedger(store, prefix=settings.storage.ledger_prefix)
    return ledger if reports is None else ReportedStarts(ledger, reports)


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
