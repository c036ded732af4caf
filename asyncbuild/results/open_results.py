"""Opening of all that is between the queue of results and the ledger, closed in reverse."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncbuild.aws.session import Aws
from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.builds.superseding.running_ledger import RunningLedger
from asyncbuild.config.settings import Settings
from asyncbuild.reports.outcomes.outcome_sender import OutcomeSender
from asyncbuild.results.build_questions import BuildQuestions
from asyncbuild.results.finder import ResultFinder
from asyncbuild.results.recorder import ReportsEnds, ResultRecorder
from asyncbuild.results.result_consumers import ResultConsumers
from asyncbuild.results.result_queue import ResultQueue
from asyncbuild.results.result_worker import ResultWorker
from asyncbuild.results.superseding.cancel_worker import CancelWorker
from asyncbuild.results.superseding.open_cancelling import OpenedCancelling
from asyncbuild.results.superseding.superseded_ends import SupersededEnds
from asyncbuild.results.sweeper import Sweeper
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

_AT_ONCE: Final = 8  # messages of one receive that are worked on at the same time


@dataclass(frozen=True, slots=True)
class OpenedResults:
    """Consumers of the queue of results, and the ledger that they write."""

    consumers: ResultConsumers
    ledger: ResultLedger


@dataclass(frozen=True, slots=True)
class EndFollowers:
    """Takers of ends that were recorded.

    Attributes:
        reports: Reports the ends; None for no reports.
        outcomes: Sends outcome events; None for none.
        cancelling: Stops superseded builds; None if no rule wants that.
    """

    reports: ReportsEnds | None = None
    outcomes: OutcomeSender | None = None
    cancelling: OpenedCancelling | None = None

    @property
    def cancels(self) -> CancelWorker | None:
        """Worker that stops superseded builds; None if no rule wants that."""
        return None if self.cancelling is None else self.cancelling.worker


_NO_FOLLOWERS: Final = EndFollowers()


@asynccontextmanager
async def open_results(
    settings: Settings,
    aws: Aws,
    followers: EndFollowers = _NO_FOLLOWERS,
    *,
    clock: Clock = utc_now,
) -> AsyncIterator[OpenedResults | None]:
    """Open the consumers of the queue of results; None without such a queue.

    Nothing is asked of AWS yet: a fault of the results must not keep pushes from being built.

    Args:
        settings: Settings of the service.
        aws: Session of the service.
        followers: Takers of ends.
        clock: Clock, by which messages and builds are old.

    Raises:
        ConfigError: The queue is in another Region than calls go to.
    """
    if not settings.results.url:
        yield None
        return
    count = settings.results.consumers
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        polls = await enter(aws.open_sqs(pool=count))
        control = await enter(aws.open_sqs(pool=2 * count))
        s3 = await enter(aws.open_s3(pool=2 * _AT_ONCE * count))
        codebuild = await enter(aws.open_codebuild(pool=4))
        codepipeline = await enter(aws.open_codepipeline(pool=_AT_ONCE * count))
        store, prefix = Store(s3, settings.storage), settings.storage.ledger_prefix
        ledger = ResultLedger(store, prefix=prefix)
        questions = BuildQuestions(codebuild, codepipeline, clock=clock)
        finder = ResultFinder(ledger, questions)
        recorder = ResultRecorder(
            ledger,
            contents=ContentLedger(store, prefix=prefix, clock=clock),
            reports=followers.reports,
            outcomes=followers.outcomes,
            superseded=_superseded_ends(store, settings, followers.cancelling),
            clock=clock,
        )
        sweeper = Sweeper(
            ledger=ledger,
            questions=questions,
            finder=finder,
            recorder=recorder,
            outcomes=followers.outcomes,
            superseded=followers.cancels,
            clock=clock,
        )
        consumers = ResultConsumers(
            queue=_queue(settings, polls, control),
            worker=ResultWorker(finder, recorder, clock=clock),
            sweeper=sweeper,
            settings=settings,
            clock=clock,
        )
        yield OpenedResults(consumers, ledger)


def _queue(settings: Settings, polls: "SQSClient", control: "SQSClient") -> ResultQueue:
    return ResultQueue(
        polls=polls,
        control=control,
        url=settings.results.url,
        dead_letter_url=settings.results.dead_letter_url,
    )


def _superseded_ends(
    store: Store, settings: Settings, cancelling: OpenedCancelling | None
) -> SupersededEnds:
    """Return what completes results; also without a canceller, for builds started with one."""
    running = RunningLedger(store, prefix=settings.storage.ledger_prefix)
    if cancelling is None:
        return SupersededEnds(running)
    return SupersededEnds(running, cancelling.canceller, cancelling.worker.notice_group)
