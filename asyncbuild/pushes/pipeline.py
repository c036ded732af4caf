"""Stages of a push in order: read, prepare, dispatch, settle.

`prepare` may run beside other pushes of the repository, `dispatch` runs in the order of the queue.
The lane decides when each is called; the message is deleted after `dispatch` has returned (I1).
"""

from dataclasses import dataclass

from asyncbuild.archive.archiver import Archiver
from asyncbuild.builds.content_ledger import ContentLedger
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.poison import Tries
from asyncbuild.builds.quota import Quota
from asyncbuild.builds.starters import Starters
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Reject, StageError, reading
from asyncbuild.domain.events.push_events import PushSuperseded, dead_letter_event
from asyncbuild.domain.events.queue_events import WebhookUnverified
from asyncbuild.domain.model import Guard, Message, Outcome, Push, Verdict
from asyncbuild.domain.statistics import PipelineStatistics
from asyncbuild.domain.tally import Tally, blame
from asyncbuild.forges.webhooks.senders import MessageReader, Unverified
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.pushes.ancestry import History
from asyncbuild.pushes.archives import Archives
from asyncbuild.pushes.changed_content import ChangeFinder
from asyncbuild.pushes.dispatch import Dispatcher
from asyncbuild.pushes.missing_commit import MissingCommits
from asyncbuild.pushes.newer_starts import NewerStarts
from asyncbuild.pushes.prepare import Preparer, PushPreparer
from asyncbuild.pushes.recorded_starts import RecordedStarts
from asyncbuild.pushes.staleness import Staleness
from asyncbuild.pushes.start_target import TargetStarter
from asyncbuild.pushes.tips import Tips
from asyncbuild.pushes.work import (
    Dispatch,
    PreparedMessage,
    RecordsStarts,
    ReportsSkips,
    SupersedesBuilds,
    Work,
)
from asyncbuild.runtime.emit import about, emit
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.engine import Engine


@dataclass(frozen=True, slots=True)
class Services:
    """Services that the stages use; the last three only if those are asked for."""

    mirrors: MirrorCache
    engine: Engine
    budget: MemoryBudget
    store: Store
    starters: Starters
    ledger: Ledger
    hosts: MessageReader
    contents: ContentLedger
    results: RecordsStarts | None = None
    skips: ReportsSkips | None = None
    supersedes: SupersedesBuilds | None = None


def _newer_starts(services: Services, history: History) -> NewerStarts | None:
    supersedes = services.supersedes
    return None if supersedes is None else NewerStarts(supersedes, history)


def read_message(hosts: MessageReader, message: Message) -> Work:
    """Return what a message asks for; or why it cannot be understood, without raising an error."""
    try:
        with reading("message"):
            events = hosts.read(message)
    except Reject as error:
        return Work(message, error)
    faults = tuple(each for each in events if isinstance(each, Reject))
    pushes = [each for each in events if isinstance(each, Push)]
    if not pushes:
        return Work(message, faults[0] if faults else events[0])
    return Work(message, pushes[0], tuple(pushes[1:]), faults=faults)


class Pipeline:
    """Stages of a push, built from the services and the settings."""

    def __init__(self, services: Services, settings: Settings) -> None:
        self._hosts = services.hosts
        self._mirrors = mirrors = services.mirrors
        self._budget = budget = services.budget
        self._ledger = ledger = services.ledger
        self._unverified = Quota(ledger)
        store = services.store
        archiver = Archiver(engine=services.engine, budget=budget, store=store, settings=settings)
        missing = MissingCommits(mirrors, ledger, lag_seconds=settings.git.replication_lag_seconds)
        self._archives = Archives(mirrors, archiver, store, missing)
        changes = ChangeFinder(self._archives, ledger, services.contents, settings)
        pushes = PushPreparer(self._archives, ledger, changes)
        tries = Tries(ledger, max_attempts=settings.lanes.max_attempts)
        self._preparer = Preparer(pushes, Tips(mirrors, ledger), tries)
        history = History(mirrors, self._archives)
        self._dispatcher = Dispatcher(
            ledger=ledger,
            pushes=pushes,
            changes=changes,
            staleness=Staleness(ledger, history, skip_stale=settings.lanes.stale == "skip"),
            targets=TargetStarter(
                starters=services.starters,
                archives=self._archives,
                history=history,
                traced=settings.status.traces,
            ),
            starts=RecordedStarts(services.contents, services.results),
            skips=services.skips,
            newer=_newer_starts(services, history),
        )

    def statistics(self) -> PipelineStatistics:
        """Return what is in progress now, counted at the call."""
        return PipelineStatistics(
            archives=self._archives.statistics(),
            mirrors=self._mirrors.statistics(),
            memory=self._budget.statistics(),
        )

    def read(self, message: Message) -> Work:
        """Return what a message asks for, or why it cannot be understood."""
        return read_message(self._hosts, message)

    async def prepare(self, work: Work, *, guard: Guard, suspect: bool = False) -> PreparedMessage:
        """Fetch, archive and upload; see `Preparer.prepare`.

        Args:
            work: The message.
            guard: Asked before anything is committed (I4).
            suspect: Whether the message may have killed its process before.
        """
        return await self._preparer.prepare(work, guard=guard, suspect=suspect)

    async def dispatch(self, order: Dispatch, *, guard: Guard, tally: Tally) -> None:
        """Start the builds and record them; see `Dispatcher.dispatch`.

        Args:
            order: The prepared message.
            guard: Asked before anything is committed (I4).
            tally: Collects what was done for each part of the message.
        """
        await self._dispatcher.dispatch(order, guard=guard, tally=tally)

    async def supersede(self, work: Work, *, by: Work, guard: Guard) -> None:
        """Record that `by`, a newer push of the same ref, covers this one.

        Args:
            work: The message that is covered.
            by: The message of the newer push.
            guard: Asked before anything is committed (I4).

        Raises:
            StageError: The ledger could not be written.
        """
        guard()
        if work.push and by.push:
            reason = f"superseded by push {by.push.id} of commit {by.push.commit}"
            await self._ledger.record(work.push, Outcome(Verdict.SUPERSEDED, reason))
            await self._ledger.remember_body(work.push)
            await self._ledger.answer(work.push)
            with about(work.push):
                emit(PushSuperseded(by=by.push.id))

    async def keeps(self, work: Work, error: StageError) -> bool:
        """Return whether a message that is given up becomes a dead letter.

        Of requests without a good signature only the first of an hour do; the rest is counted (I1).
        """
        if not isinstance(error, Unverified):
            return True
        kept, first = await self._unverified.take(work.message, error.host)
        unverified = WebhookUnverified(
            message_id=work.message.id, host=error.host, kept=kept, reason=error.reason
        )
        emit(unverified, level="warning" if first else "debug")
        return kept

    async def dead_letter(self, work: Work, error: StageError, *, attempts: int) -> None:
        """Record why a message is in the dead-letter queue.

        Args:
            work: The message.
            error: Why it was given up.
            attempts: Number of counted attempts.
        """
        for blamed, why in blame(work.pushes, error):
            push = None if blamed is None else await self._ledger.find_fixed(blamed)
            await self._ledger.record_rejected(work.message, push, why, attempts=attempts)
            emit(dead_letter_event(work.message.id, push, why, attempts=attempts))
