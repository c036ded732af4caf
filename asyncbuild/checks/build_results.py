"""Checks of the queue of results and of its dead-letter queue. Changes nothing anywhere."""

from collections.abc import AsyncIterator
from functools import partial

from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.finding import Finding
from asyncbuild.checks.judges.queues.results_queue import (
    judge_no_results,
    judge_results_dead_letters,
    judge_results_queue,
)
from asyncbuild.checks.queue_pair import QueuePair, look_at_pair
from asyncbuild.config.settings import Settings


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
    pair = QueuePair(
        url,
        settings.results.dead_letter_url,
        partial(judge_results_queue, url, settings=settings),
        judge_results_dead_letters,
    )
    async for finding in look_at_pair(aws, pair):
        yield finding
