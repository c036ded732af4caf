"""Opening of all that stops superseded builds, closed in reverse."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from asyncbuild.aws.session import Aws
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.builds.superseding.running_ledger import RunningLedger
from asyncbuild.config.settings import Settings
from asyncbuild.results.build_questions import BuildQuestions
from asyncbuild.results.finder import ResultFinder
from asyncbuild.results.superseding.build_stops import BuildStops
from asyncbuild.results.superseding.cancel_worker import CancelWorker
from asyncbuild.results.superseding.canceller import Canceller
from asyncbuild.storage.s3 import Store

_POOL: Final = 4


@dataclass(frozen=True, slots=True)
class OpenedCancelling:
    """Canceller of superseded builds, and the worker that calls it."""

    canceller: Canceller
    worker: CancelWorker


@asynccontextmanager
async def open_cancelling(settings: Settings, aws: Aws) -> AsyncIterator[OpenedCancelling | None]:
    """Open the canceller; None if no rule has `cancel_superseded`, or results are not asked for.

    Args:
        settings: Settings of the service.
        aws: Session of the service.
    """
    if not settings.results.url or not any(each.cancel_superseded for each in settings.rules):
        yield None
        return
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        s3 = await enter(aws.open_s3(pool=2 * _POOL))
        codebuild = await enter(aws.open_codebuild(pool=_POOL))
        codepipeline = await enter(aws.open_codepipeline(pool=_POOL))
        store, prefix = Store(s3, settings.storage), settings.storage.ledger_prefix
        running = RunningLedger(store, prefix=prefix)
        questions = BuildQuestions(codebuild, codepipeline)
        canceller = Canceller(
            running,
            ResultFinder(ResultLedger(store, prefix=prefix), questions),
            BuildStops(codebuild, codepipeline),
            monotonic=time.monotonic,
        )
        yield OpenedCancelling(canceller, CancelWorker(running, canceller))
