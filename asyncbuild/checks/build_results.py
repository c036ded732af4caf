"""Checks of the queue of results and of its dead-letter queue. Changes nothing anywhere."""

from collections.abc import AsyncIterator

from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.finding import Finding
from asyncbuild.checks.judges.results_queue import (
    judge_no_results,
    judge_results_dead_letters,
    judge_results_queue,
)
from asyncbuild.config.settings import Settings
from asyncbuild.queue.sqs import Queue


async def look_at_results(aws: Aws, settings: Settings) -> AsyncIterator[Finding]:
    """Yield findings about the queues of results.

    Args:
        aws: Session of the service.
        settings: The whole configuration.

    Raises:
        StageError: SQS refused, or cannot be reached.
    """
    url = settings.results.url
    if not url:
        yield judge_no_results()
        return
    dead_letter_url = settings.results.dead_letter_url
    async with aws.open_sqs(pool=1) as sqs:
        queue = Queue(polls=sqs, control=sqs, url=url, dead_letter_url=dead_letter_url)
        for finding in judge_results_queue(url, await queue.attributes(), settings):
            yield finding
        facts = await queue.facts()
        if facts.dead_letter_arn or dead_letter_url:
            found = await queue.find_dead_letter_queue(facts)
            dead_letters = Queue(polls=sqs, control=sqs, url=found)
            yield judge_results_dead_letters(found, await dead_letters.attributes())
