"""One push, top to bottom.

`prepare` does everything that may run beside other pushes of the repository: it ends with a whole
archive in S3. `turn.settle` does what must happen in order: it starts the builds and writes the
ledger (`pushes/dispatch.py`). The lane decides when each is called; the message is deleted after
the latter has returned (I1).
"""

import hashlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import partial

from asyncbuild.archive.archiver import Archiver, Order
from asyncbuild.archive.delta.choose_base import ArchiveLineage
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.poison import Tries
from asyncbuild.builds.quota import Quota
from asyncbuild.builds.starters import Starters
from asyncbuild.config.settings import Settings, rules_of
from asyncbuild.domain.errors import Fatal, LeaseLost, Reject, StageError, Unreachable, reading
from asyncbuild.domain.model import (
    Guard,
    Message,
    Nothing,
    Outcome,
    Push,
    StoredArchive,
    Target,
    Verdict,
)
from asyncbuild.domain.rules import asked_changes, route
from asyncbuild.domain.tally import blame
from asyncbuild.forges.webhooks.senders import Hosts, Unverified
from asyncbuild.git.content.submodules import open_whole
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.git.mirrors.cache import Statistics as MirrorStatistics
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.pushes.ancestry import History
from asyncbuild.pushes.dispatch import Turn, is_own, undone
from asyncbuild.pushes.missing_commit import MissingCommits
from asyncbuild.pushes.work import Ready, Work
from asyncbuild.runtime.log import about, logger, stage
from asyncbuild.runtime.memory_budget import BudgetStatistics, MemoryBudget
from asyncbuild.storage.s3 import FINGERPRINT_KEY, Store
from asyncbuild.zip.engine import Engine, ZipStatistics, ZipStream


@dataclass(frozen=True, slots=True)
class PipelineStatistics:
    """What the stages are doing: archives on their way by event id, mirrors, memory."""

    archives: Mapping[str, ZipStatistics]
    mirrors: MirrorStatistics
    memory: BudgetStatistics


def read_message(hosts: Hosts, message: Message) -> Work:
    """Return what a message asks for: never an error, but the reason why it is rejected."""
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
    """The stages, in the order of a push's way through them."""

    def __init__(  # noqa: PLR0913 - each stage, by name
        self,
        *,
        mirrors: MirrorCache,
        engine: Engine,
        budget: MemoryBudget,
        store: Store,
        starters: Starters,
        ledger: Ledger,
        settings: Settings,
        hosts: Hosts | None = None,
    ) -> None:
        self._hosts = hosts or Hosts()
        self._rules = rules_of(settings)
        self._mirrors = mirrors
        self._archiver = Archiver(engine=engine, budget=budget, store=store, settings=settings)
        self._supersedes = settings.lanes.superseded == "skip"
        self._budget = budget
        self._store = store
        self._ledger = ledger
        self._streams: dict[str, ZipStream] = {}
        self._missing = MissingCommits(
            mirrors, ledger, lag_seconds=settings.git.replication_lag_seconds
        )
        self._unverified = Quota(ledger)
        self._tries = Tries(ledger, max_attempts=settings.lanes.max_attempts)
        self.turn = Turn(
            starters=starters,
            ledger=ledger,
            prepare=self._prepare_now,
            upload=self._upload_now,
            history=History(mirrors, self._open_snapshot),
            skip_stale=settings.lanes.stale == "skip",
            traced=settings.status.traces,
        )

    def statistics(self) -> PipelineStatistics:
        """What is on its way now. Nobody counts as bytes pass: whoever looks, asks."""
        return PipelineStatistics(
            archives={event_id: each.statistics() for event_id, each in self._streams.items()},
            mirrors=self._mirrors.statistics(),
            memory=self._budget.statistics(),
        )

    def read(self, message: Message) -> Work:
        """Message → work; what cannot be understood is kept as the reason why."""
        return read_message(self._hosts, message)

    async def prepare(self, work: Work, *, guard: Guard, suspect: bool = False) -> Ready:
        """Fetch, archive and upload, unless that was done before.

        Args:
            work: What to prepare.
            guard: Asked before anything is committed (I4).
            suspect: Its process may have died of it: mark the try, and refuse the third.

        Raises:
            StageError: of the stage that failed.
        """
        if isinstance(work.event, Reject):
            raise copy(work.event)
        if isinstance(work.event, Nothing):
            return Ready(work)
        with about(work.event), stage("push.prepare") as log:
            async with self._tries.open_try(work.message, suspect=suspect):
                if work.more:
                    first, *more = [await self._prepare_one(work, p, guard) for p in work.pushes]
                    ready = replace(first, work=work, more=tuple(more))
                else:
                    ready = await self._prepare(work, work.event, guard)
            archives = [each.archives.values() for each in (ready, *ready.more)]
            log["bytes"] = sum(archive.size_bytes for those in archives for archive in those)
            return ready

    async def supersede(self, work: Work, *, by: Work, guard: Guard) -> None:
        """Record that `by`, a newer push of the same ref, covers this one."""
        guard()
        if work.push and by.push:
            reason = f"superseded by push {by.push.id} of commit {by.push.commit}"
            await self._ledger.record(work.push, Outcome(Verdict.SUPERSEDED, reason))
            await self._ledger.remember_body(work.push)
            with about(work.push):
                logger().info("push.superseded", by=by.push.id)

    async def keeps(self, work: Work, error: StageError) -> bool:
        """Tell whether a message that is given up becomes a dead letter.

        Of those that nobody signed only the first of an hour do: the rest is counted (I1).
        """
        if not isinstance(error, Unverified):
            return True
        kept, first = await self._unverified.take(work.message, error.host)
        about_it = {"message_id": work.message.id, "host": error.host, "reason": error.reason}
        if first:
            logger().warning("webhook.unverified", kept=kept, **about_it)
        else:
            logger().debug("webhook.unverified", kept=kept, **about_it)
        return kept

    async def bury(self, work: Work, error: StageError, *, attempts: int) -> None:
        """Record why a message is in the dead-letter queue."""
        for push, why in blame(work.pushes, error):
            await self._ledger.record_rejected(work.message, push, why, attempts=attempts)
            logger().error(
                "push.dead-lettered",
                message_id=work.message.id,
                event_id=push.id if push else None,
                repository=push.repository.name if push else None,
                ref=push.ref if push else None,
                commit=push.commit if push else None,
                kind=why.kind,
                reason=str(why),
                attempts=attempts,
            )

    # --- prepare ----------------------------------------------------------------------------------

    async def _prepare_one(self, work: Work, push: Push, guard: Guard) -> Ready:
        """Prepare one of several refs of a message; its failure is kept for its turn."""
        own = replace(work, event=push, more=(), faults=())
        with about(push):
            try:
                return await self._prepare(own, push, guard)
            except (Fatal, LeaseLost):
                raise
            except StageError as error:
                return Ready(own, failed=error)

    async def _prepare_now(self, work: Work, push: Push, guard: Guard) -> Ready:
        return await self._prepare(replace(work, event=push, more=(), faults=()), push, guard)

    async def _prepare(self, work: Work, push: Push, guard: Guard) -> Ready:
        routed = route(push, self._rules, await self._find_unchanged(work, push))
        targets = await undone(self._ledger, push, routed)
        wanted = [target for target in targets if target.key]
        own = {target.key: target for target in wanted if is_own(push, target)}
        archives = await self._already_there(push, own)
        if len(archives) == len({target.key for target in wanted}):
            return Ready(work, targets, archives)
        failures: dict[str, StageError] = {}
        timings: dict[str, float] = {}
        begun = time.monotonic()
        try:
            async with self._open_snapshot(work, push) as snapshot:
                timings["fetch"] = time.monotonic() - begun
                for key, target in own.items():
                    if key in archives:
                        continue
                    try:
                        archives[key] = await self._upload(push, target, snapshot, guard)
                    except (Fatal, LeaseLost):
                        raise
                    except StageError as error:
                        failures[key] = error
        except Unreachable as error:
            return Ready(work, targets, stale=error.reason)
        timings["archive"] = time.monotonic() - begun - timings["fetch"]
        if all(target.key in failures for target in targets) and len(failures) == 1:
            raise failures.popitem()[1]  # nothing else is in the push: the lane tries it again
        return Ready(work, targets, archives, timings=timings, failures=failures)

    async def _find_unchanged(self, work: Work, push: Push) -> Sequence[tuple[str, ...]]:
        """The `changes` of rules in which the push changed nothing; without any, nothing is read.

        A push may cover older ones of its ref, so that what it changed itself is not all: then
        it is compared with what was built last.
        """
        asked = asked_changes(push, self._rules)
        if not asked:
            return ()
        since = push.old_commit
        if self._supersedes:
            since = await self._ledger.find_built_before(push)
        if not since:
            return ()
        try:
            async with self._open_snapshot(work, push) as snapshot:
                return await snapshot.find_unchanged(since, asked)
        except Unreachable:
            return ()

    async def _already_there(
        self, push: Push, targets: Mapping[str, Target]
    ) -> dict[str, StoredArchive]:
        found = {
            key: await self._store.find(key, fingerprint=self._print(push, target))
            for key, target in targets.items()
        }
        return {key: archive for key, archive in found.items() if archive is not None}

    async def _upload(
        self, push: Push, target: Target, snapshot: Snapshot, guard: Guard
    ) -> StoredArchive:
        """What the target wants of the commit, as a zip in S3, by the cheapest way there is."""
        async with AsyncExitStack() as stack:
            log = stack.enter_context(stage("push.upload", key=target.key))
            selected = await snapshot.select(target.options)
            opened = open_whole(self._mirrors, push.repository, selected)
            result = await self._archiver.put(
                Order(
                    await stack.enter_async_context(opened),
                    target.key,
                    guard,
                    origin=ArchiveLineage(push.repository, push.ref),
                    metadata={FINGERPRINT_KEY: self._print(push, target)},
                    watch=partial(self._on_its_way, push),
                )
            )
            archive = replace(
                result.made.archive, base=result.base_key, files_read=result.made.files_read
            )
            log.update(
                bytes=archive.size_bytes,
                sent_bytes=archive.sent_bytes,
                copied_bytes=archive.copied_bytes,
                entries=result.made.entries,
                archive_kind=archive.kind,
                base=archive.base,
                files_read=archive.files_read,
                fallback=result.fallback,
            )
        return archive

    async def _upload_now(
        self, work: Work, push: Push, target: Target, guard: Guard
    ) -> StoredArchive:
        async with self._open_snapshot(work, push) as snapshot:
            return await self._upload(push, target, snapshot, guard)

    @asynccontextmanager
    async def _open_snapshot(self, work: Work, push: Push) -> AsyncIterator[Snapshot]:
        """Hold the commit of a push.

        Raises:
            Unreachable: the git server does not show it, and will not.
            Busy: the server may show it later.
            StageError: as `MirrorCache.open`.
        """
        async with AsyncExitStack() as stack:
            try:
                with stage("push.fetch"):
                    opened = self._mirrors.open(
                        push.repository,
                        ref=push.ref,
                        commit=push.commit,
                        behind=self._missing.behind(work, push),
                    )
                    snapshot = await stack.enter_async_context(opened)
            except Unreachable as error:
                await self._missing.explain(work, push, error)
                raise
            yield snapshot

    @contextmanager
    def _on_its_way(self, push: Push, stream: ZipStream) -> Iterator[None]:
        self._streams[push.id] = stream
        try:
            yield
        finally:
            self._streams.pop(push.id, None)

    def _print(self, push: Push, target: Target) -> str:
        """Equal for archives that hold the same entries in the same form."""
        text = f"{push.commit}\n{self._archiver.format_of(target.options)}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]
