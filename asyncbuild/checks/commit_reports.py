"""Checks of the queue of reports, and of the credentials that post commit statuses."""

from collections.abc import AsyncIterator
from functools import partial

from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.finding import Finding
from asyncbuild.checks.judges.queues.reports_queue import (
    judge_no_reports,
    judge_no_statuses,
    judge_reports_dead_letters,
    judge_reports_queue,
)
from asyncbuild.checks.judges.status_credentials import (
    judge_credential,
    judge_no_secret,
    judge_refusal,
)
from asyncbuild.checks.queue_pair import QueuePair, look_at_pair
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError
from asyncbuild.forges.keyring import read_secret
from asyncbuild.forges.statuses.status_http import open_session
from asyncbuild.forges.statuses.status_posters import api_url_of
from asyncbuild.forges.statuses.status_probes import ask_about
from asyncbuild.runtime.clock import Clock, utc_now


async def look_at_reports(aws: Aws, settings: Settings) -> AsyncIterator[Finding]:
    """Yield findings about the queues of reports.

    Args:
        aws: Session of the service.
        settings: The whole configuration.

    Raises:
        StageError: SQS refused, or cannot be reached.
    """
    url = settings.reports.url
    hosts = [each.host for each in settings.hosts if each.commit_status]
    if not url:
        if hosts:
            yield judge_no_reports(hosts)
        return
    if not hosts:
        yield judge_no_statuses()
    pair = QueuePair(
        url,
        settings.reports.dead_letter_url,
        partial(judge_reports_queue, url, settings=settings),
        judge_reports_dead_letters,
    )
    async for finding in look_at_pair(aws, pair):
        yield finding


async def look_at_statuses(
    aws: Aws, settings: Settings, *, clock: Clock = utc_now
) -> AsyncIterator[Finding]:
    """Yield findings about the credentials for commit statuses; nothing is written anywhere.

    Args:
        aws: Session of the service.
        settings: The whole configuration.
        clock: Clock.
    """
    async with open_session() as session:
        for host in settings.hosts:
            wanted = host.commit_status
            if wanted is None:
                continue
            try:
                secret = await read_secret(wanted.token or wanted.app_private_key or "", aws)
            except StageError as error:
                yield judge_no_secret(error)
                continue
            try:
                facts = await ask_about(session, host, wanted, secret.strip())
            except StageError as error:
                yield judge_refusal(host, api_url_of(host), error)
                continue
            for finding in judge_credential(host, facts, clock()):
                yield finding
