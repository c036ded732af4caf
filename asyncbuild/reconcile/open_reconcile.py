"""Opening of all that is between the queue of rounds and the queue of pushes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from asyncbuild.aws.accounts import AccountCredentials
from asyncbuild.aws.session import Aws
from asyncbuild.builds.reconcile_ledger import ReconcileLedger
from asyncbuild.builds.service_mark import ServiceMark
from asyncbuild.config.settings import Settings, rules_of
from asyncbuild.forges.codecommit_api import CodeCommitApi
from asyncbuild.queue.sqs import Queue
from asyncbuild.reconcile.found_sender import FoundSender
from asyncbuild.reconcile.planning.wanted_refs import WantedRefs
from asyncbuild.reconcile.reconcile_consumers import ReconcileConsumers
from asyncbuild.reconcile.reconcile_worker import ReconcileWorker
from asyncbuild.reconcile.reconciler import ListsRefs, Reconciler
from asyncbuild.reconcile.repository_groups import RepositoryGroups
from asyncbuild.reconcile.round_starter import RoundStarter
from asyncbuild.reconcile.told_failures import ToldFailures
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.storage.s3 import Store


@dataclass(frozen=True, slots=True)
class OpenedReconcile:
    """Reconciler and starter of rounds, their ledger, and the starter's failures."""

    reconciler: Reconciler
    starter: RoundStarter
    ledger: ReconcileLedger
    told: ToldFailures


@asynccontextmanager
async def open_reconciler(
    settings: Settings,
    aws: Aws,
    mirrors: ListsRefs,
    *,
    dry_run: bool = False,
    clock: Clock = utc_now,
) -> AsyncIterator[OpenedReconcile]:
    """Open what looks at repositories and starts rounds.

    Args:
        settings: Settings of the service.
        aws: Session of the service.
        mirrors: Lists refs.
        dry_run: Whether nothing is sent and written.
        clock: Clock.

    Raises:
        ConfigError: A queue is in another Region than calls go to.
    """
    count = settings.reconcile.consumers
    async with AsyncExitStack() as stack:
        sqs = await stack.enter_async_context(aws.open_sqs(pool=2 * count))
        s3 = await stack.enter_async_context(aws.open_s3(pool=8 * count))
        store = Store(s3, settings.storage)
        ledger = ReconcileLedger(store, prefix=settings.storage.ledger_prefix)
        codecommit = CodeCommitApi(aws, AccountCredentials(aws, settings), settings)
        mark = ServiceMark(store, prefix=settings.storage.ledger_prefix)
        wanted = WantedRefs(rules_of(settings))
        reconciler = Reconciler(
            mirrors=mirrors,
            ledger=ledger,
            groups=RepositoryGroups(ledger, codecommit),
            sender=None if dry_run else FoundSender(sqs, settings.queue.url, mark, clock=clock),
            wanted=wanted,
            grace=timedelta(seconds=settings.reconcile.grace_seconds),
            clock=clock,
        )
        starter = RoundStarter(
            sqs,
            settings.reconcile.url,
            ledger=ledger,
            codecommit=codecommit,
            wanted=wanted,
            told=(told := ToldFailures()),
            clock=clock,
        )
        yield OpenedReconcile(reconciler, starter, ledger, told)


@asynccontextmanager
async def open_reconcile(
    settings: Settings, aws: Aws, mirrors: ListsRefs, *, clock: Clock = utc_now
) -> AsyncIterator[ReconcileConsumers | None]:
    """Open the consumers of the queue of rounds; None without such a queue.

    Args:
        settings: Settings of the service.
        aws: Session of the service.
        mirrors: Lists refs.
        clock: Clock.

    Raises:
        ConfigError: A queue is in another Region than calls go to.
    """
    if not settings.reconcile.url:
        yield None
        return
    count = settings.reconcile.consumers
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        opened = await enter(open_reconciler(settings, aws, mirrors, clock=clock))
        queue = Queue(
            polls=await enter(aws.open_sqs(pool=count)),
            control=await enter(aws.open_sqs(pool=2 * count)),
            url=settings.reconcile.url,
            dead_letter_url=settings.reconcile.dead_letter_url,
        )
        worker = ReconcileWorker(opened.reconciler, opened.starter, ToldFailures(), clock=clock)
        yield ReconcileConsumers(queue=queue, worker=worker, settings=settings, clock=clock)
