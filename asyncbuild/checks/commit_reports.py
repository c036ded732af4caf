"""Checks of the queue of reports, and of the credentials that post commit statuses."""

from collections.abc import AsyncIterator

from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.finding import Finding
from asyncbuild.checks.judges.reports_queue import (
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
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError
from asyncbuild.forges.keyring import read_secret
from asyncbuild.forges.statuses.status_http import open_session
from asyncbuild.forges.statuses.status_posters import api_url_of
from asyncbuild.forges.statuses.status_probes import ask_about
from asyncbuild.queue.sqs import Queue
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
    dead_letter_url = settings.reports.dead_letter_url
    async with aws.open_sqs(pool=1) as sqs:
        queue = Queue(polls=sqs, control=sqs, url=url, dead_letter_url=dead_letter_url)
        for finding in judge_reports_queue(url, await queue.attributes(), settings):
            yield finding
        facts = await queue.facts()
        if facts.dead_letter_arn or dead_letter_url:
            found = await queue.find_dead_letter_queue(facts)
            dead_letters = Queue(polls=sqs, control=sqs, url=found)
            yield judge_reports_dead_letters(found, await dead_letters.attributes())


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
