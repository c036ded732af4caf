"""Opening of all that is between the queue of reports and the forges, closed in reverse."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from asyncbuild.aws.session import Aws
from asyncbuild.builds.report_ledger import ReportLedger
from asyncbuild.config.settings import Settings
from asyncbuild.forges.statuses.status_posters import open_status_posters
from asyncbuild.queue.sqs import Queue
from asyncbuild.reports.report_consumers import ReportConsumers
from asyncbuild.reports.report_sender import ReportSender
from asyncbuild.reports.reporter import Reporter
from asyncbuild.storage.s3 import Store


@dataclass(frozen=True, slots=True)
class OpenedReports:
    """Consumers of the queue of reports, and the sender to it."""

    consumers: ReportConsumers
    sender: ReportSender


@asynccontextmanager
async def open_reports(settings: Settings, aws: Aws) -> AsyncIterator[OpenedReports | None]:
    """Open the reports; None without a queue of reports, or where no host wants statuses.

    Args:
        settings: Settings of the service.
        aws: Session of the service.

    Raises:
        ConfigError: A secret is missing, or the queue is in another Region than calls go to.
        StageError: Secrets Manager refuses, or cannot be reached.
    """
    if not settings.reports.url or not any(each.commit_status for each in settings.hosts):
        yield None
        return
    count = settings.reports.consumers
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        polls = await enter(aws.open_sqs(pool=count))
        control = await enter(aws.open_sqs(pool=8 * count + settings.consumers))
        s3 = await enter(aws.open_s3(pool=8 * count))
        posters = await enter(open_status_posters(settings, aws))
        ledger = ReportLedger(Store(s3, settings.storage), prefix=settings.storage.ledger_prefix)
        queue = Queue(
            polls=polls,
            control=control,
            url=settings.reports.url,
            dead_letter_url=settings.reports.dead_letter_url,
        )
        reporter = Reporter(posters, ledger, monotonic=time.monotonic)
        consumers = ReportConsumers(queue=queue, reporter=reporter, settings=settings)
        yield OpenedReports(consumers, ReportSender(control, settings.reports.url, posters))
