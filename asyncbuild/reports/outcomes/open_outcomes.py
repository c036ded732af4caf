"""Opening of the sender of outcome events."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from asyncbuild.aws.session import Aws
from asyncbuild.config.settings import Settings
from asyncbuild.reports.outcomes.event_bus import EventBus
from asyncbuild.reports.outcomes.outcome_ledger import OutcomeLedger
from asyncbuild.reports.outcomes.outcome_sender import OutcomeSender
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.storage.s3 import Store

_AT_ONCE = 8  # ends of one receive that are told at the same time


@asynccontextmanager
async def open_outcomes(
    settings: Settings, aws: Aws, *, clock: Clock = utc_now
) -> AsyncIterator[OutcomeSender | None]:
    """Open the sender of outcome events; None without an event bus, or without results.

    Args:
        settings: Settings of the service.
        aws: Session of the service.
        clock: Clock.
    """
    if not settings.reports.event_bus or not settings.results.url:
        yield None
        return
    pool = _AT_ONCE * settings.results.consumers
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        client = await enter(aws.open_events(pool=pool))
        s3 = await enter(aws.open_s3(pool=pool))
        ledger = OutcomeLedger(Store(s3, settings.storage), prefix=settings.storage.ledger_prefix)
        yield OutcomeSender(
            ledger,
            EventBus(client, settings.reports.event_bus),
            with_reasons=settings.reports.event_reasons,
            monotonic=time.monotonic,
            clock=clock,
        )
