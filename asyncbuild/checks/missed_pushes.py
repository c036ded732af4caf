"""Checks of what looks for pushes that no event told: the queue of rounds, and the newest round."""

from collections.abc import AsyncIterator
from functools import partial

from asyncbuild.aws.session import Aws
from asyncbuild.builds.reconcile_ledger import ReconcileLedger
from asyncbuild.checks.judges.finding import Finding
from asyncbuild.checks.judges.queues.rounds_queue import (
    judge_newest_round,
    judge_no_rounds,
    judge_rounds_dead_letters,
    judge_rounds_queue,
)
from asyncbuild.checks.queue_pair import QueuePair, look_at_pair
from asyncbuild.config.settings import Settings
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.storage.s3 import Store


async def look_at_rounds(
    aws: Aws, settings: Settings, *, clock: Clock = utc_now
) -> AsyncIterator[Finding]:
    """Yield findings about the queues of rounds, and whether rounds come. Changes nothing.

    Args:
        aws: Session of the service.
        settings: The whole configuration.
        clock: Clock of the world.

    Raises:
        StageError: SQS or S3 refused, or cannot be reached.
    """
    url = settings.reconcile.url
    if not url:
        yield judge_no_rounds()
        return
    pair = QueuePair(
        url,
        settings.reconcile.dead_letter_url,
        partial(judge_rounds_queue, url, settings=settings),
        judge_rounds_dead_letters,
    )
    async for finding in look_at_pair(aws, pair):
        yield finding
    if settings.storage.bucket:
        async with aws.open_s3(pool=1) as s3:
            store = Store(s3, settings.storage)
            ledger = ReconcileLedger(store, prefix=settings.storage.ledger_prefix)
            newest = await ledger.read_round()
        yield judge_newest_round(None if newest is None else newest.begun_at, clock())
