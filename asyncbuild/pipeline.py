"""One push, top to bottom.

`prepare` does everything that may run beside other pushes of the repository: it ends with a whole
archive in S3. `start` does what must happen in order: it starts the builds and writes the ledger.
The lane decides when each is called; the message is deleted after `start` has returned (I1).
"""

import hashlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from asyncbuild.archive.writer import Engine, ZipStatistics, ZipStream
from asyncbuild.archiving.archiver import FORMAT_VERSION, Archiver, Order, Origin
from asyncbuild.budget import BudgetStatistics, MemoryBudget
from asyncbuild.builds.codebuild import TOKEN_TRUSTED_SECONDS, CodeBuild
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.request import token_of, variables_of
from asyncbuild.builds.tries import Tries
from asyncbuild.config import Settings
from asyncbuild.errors import NoPermission, Reject, StageError, Unreachable
from asyncbuild.git.mirror import Mirrors
from asyncbuild.git.mirror import Statistics as MirrorStatistics
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.logs import about, logger, stage
from asyncbuild.model import (
    Action,
    Build,
    BuildRequest,
    Guard,
    Message,
    Nothing,
    Outcome,
    Push,
    StoredArchive,
    Target,
    Verdict,
    root_span_id,
    trace_id,
)
from asyncbuild.push import parse
from asyncbuild.rules import Rule, route
from asyncbuild.storage.s3 import FINGERPRINT_KEY, Store

_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Work:
    """A message and what it says; a `Reject` if it says nothing that can be understood."""

    message: Message
    event: Push | Nothing | Reject
    doubtful: bool = False  # a build may have been started for it, longer ago than a token lives

    @property
    def push(self) -> Push | None:
        """The push, if it is one."""
        return self.event if isinstance(self.event, Push) else None

    @property
    def supersedable_ref(self) -> str | None:
        """What a newer push of the same ref may stand in for."""
        push = self.push
        return f"{push.repository.path}:{push.ref}" if push else None


@dataclass(frozen=True, slots=True)
class Ready:
    """A push that waits for its turn: targets still to be done, and their archives by key."""

    work: Work
    targets: tuple[Target, ...] = ()
    archives: Mapping[str, StoredArchive] = field(default_factory=dict)
    stale: str = ""  # why nothing is to be built, if so
    timings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PipelineStatistics:
    """What the stages are doing: archives on their way by event id, mirrors, memory."""

    archives: Mapping[str, ZipStatistics]
    mirrors: MirrorStatistics
    memory: BudgetStatistics


def rules_of(settings: Settings) -> tuple[Rule, ...]:
    """`[[rules]]` with the defaults of `[storage]` and `[builds]` filled in."""
    return tuple(
        Rule(
            name=rule.name or f"rules[{number}]",
            repository=rule.repository,
            ref=rule.ref,
            action=rule.action,
            projects=rule.project or (settings.builds.project,),
            key=rule.key or settings.storage.key,
            variables=rule.variables,
        )
        for number, rule in enumerate(settings.rules)
    )


class Pipeline:
    """The stages, in the order of a push's way through them."""

    def __init__(
        self,
        *,
        mirrors: Mirrors,
        engine: Engine,
        budget: MemoryBudget,
        store: Store,
        builder: CodeBuild,
        ledger: Ledger,
        settings: Settings,
    ) -> None:
        self._rules = rules_of(settings)
        self._mirrors = mirrors
        self._archiver = Archiver(engine=engine, budget=budget, store=store, settings=settings)
        self._budget = budget
        self._store = store
        self._builder = builder
        self._ledger = ledger
        self._streams: dict[str, ZipStream] = {}
        self._tries = Tries(ledger, max_attempts=settings.lanes.max_attempts)
        self._traced = settings.status.traces
        self._skip_stale = settings.lanes.stale == "skip"
        self._format = f"{FORMAT_VERSION}.{settings.archive.level}"

    def statistics(self) -> PipelineStatistics:
        """What is on its way now. Nobody counts as bytes pass: whoever looks, asks."""
        return PipelineStatistics(
            archives={event_id: each.statistics() for event_id, each in self._streams.items()},
            mirrors=self._mirrors.statistics(),
            memory=self._budget.statistics(),
        )

    def read(self, message: Message) -> Work:
        """Message → work; what cannot be understood is kept as the reason why."""
        try:
            return Work(message, parse(message.body))
        except Reject as error:
            return Work(message, error)

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
            raise Reject(work.event.reason, remedy=work.event.remedy)
        if isinstance(work.event, Nothing):
            return Ready(work)
        with about(work.event), stage("push.prepare") as log:
            async with self._tries.open_try(work.message, suspect=suspect):
                ready = await self._prepare(work, work.event, guard)
            log["bytes"] = sum(archive.size_bytes for archive in ready.archives.values())
            return ready

    async def start(
        self,
        ready: Ready,
        *,
        guard: Guard,
        covers: Sequence[Work] = (),
        waited_seconds: float = 0.0,
    ) -> None:
        """Start the builds of a prepared push, in its turn, and record what was done.

        Args:
            ready: What `prepare` gave.
            guard: Asked before anything is committed (I4).
            covers: Older pushes of the same ref for which this one stands.
            waited_seconds: Since a start was tried first: the longer ago, the less a token helps.

        Raises:
            StageError: of the stage that failed. What was recorded before stays recorded.
        """
        event = ready.work.event
        if isinstance(event, Nothing):
            guard()
            await self._ledger.record_nothing(ready.work.message, event)
            logger().info("push.nothing-to-do", event_id=event.id, reason=event.reason)
        if not isinstance(event, Push):
            return
        with about(event):
            if waited_seconds > TOKEN_TRUSTED_SECONDS:
                work = replace(ready.work, doubtful=True)
                targets = await self._undone(event, ready.targets)
                ready = replace(ready, work=work, targets=targets)
            stale = ready.stale or (await self._why_stale(event) if ready.targets else "")
            for target in ready.targets:
                await self._start_target(event, target, replace(ready, stale=stale), guard, covers)
            if ready.archives and not stale:
                await self._ledger.set_head(event)

    async def supersede(self, work: Work, *, by: Work, guard: Guard) -> None:
        """Record that `by`, a newer push of the same ref, stands for this one."""
        guard()
        if work.push and by.push:
            reason = f"superseded by push {by.push.id} of commit {by.push.commit}"
            await self._ledger.record(work.push, Outcome(Verdict.SUPERSEDED, reason))
            with about(work.push):
                logger().info("push.superseded", by=by.push.id)

    async def bury(self, work: Work, error: StageError, *, attempts: int) -> None:
        """Record why a message is in the dead-letter queue."""
        await self._ledger.record_rejected(work.message, work.push, error, attempts=attempts)
        logger().error(
            "push.dead-lettered",
            message_id=work.message.id,
            event_id=work.push.id if work.push else None,
            repository=work.push.repository.name if work.push else None,
            ref=work.push.ref if work.push else None,
            commit=work.push.commit if work.push else None,
            kind=error.kind,
            reason=str(error),
            attempts=attempts,
        )

    # --- prepare ----------------------------------------------------------------------------------

    async def _prepare(self, work: Work, push: Push, guard: Guard) -> Ready:
        targets = await self._undone(push, route(push, self._rules))
        wanted = [target for target in targets if target.key]
        own = dict.fromkeys(target.key for target in wanted if _is_own(push, target))
        archives = await self._already_there(push, own)
        if len(archives) == len({target.key for target in wanted}):
            return Ready(work, targets, archives)
        timings: dict[str, float] = {}
        begun = time.monotonic()
        try:
            async with self._open_snapshot(push) as snapshot:
                timings["fetch"] = time.monotonic() - begun
                for key in own:
                    if key not in archives:
                        archives[key] = await self._upload(push, key, snapshot, guard)
        except Unreachable as error:
            return Ready(work, targets, stale=error.reason)
        timings["archive"] = time.monotonic() - begun - timings["fetch"]
        return Ready(work, targets, archives, timings=timings)

    async def _undone(self, push: Push, targets: Sequence[Target]) -> tuple[Target, ...]:
        """The targets for which the ledger has no record yet (I12)."""
        return tuple(
            [target for target in targets if await self._ledger.find(push, target) is None]
        )

    async def _already_there(
        self, push: Push, keys: Mapping[str, None]
    ) -> dict[str, StoredArchive]:
        found = {key: await self._store.find(key, fingerprint=self._print(push)) for key in keys}
        return {key: archive for key, archive in found.items() if archive is not None}

    async def _upload(
        self, push: Push, key: str, snapshot: Snapshot, guard: Guard
    ) -> StoredArchive:
        """The commit's tree as a zip in S3, by the cheapest way there is."""
        with stage("push.upload", key=key) as log:
            result = await self._archiver.put(
                Order(
                    snapshot,
                    key,
                    guard,
                    origin=Origin(push.repository, push.ref),
                    metadata={FINGERPRINT_KEY: self._print(push)},
                    watch=partial(self._on_its_way, push),
                )
            )
            archive = result.made.archive
            log.update(
                bytes=archive.size_bytes,
                sent_bytes=archive.sent_bytes,
                copied_bytes=archive.copied_bytes,
                entries=result.made.entries,
                archive_kind=archive.kind,
                base=result.base_key,
                files_read=result.made.files_read,
                fallback=result.fallback,
            )
        return archive

    @asynccontextmanager
    async def _open_snapshot(self, push: Push) -> AsyncIterator[Snapshot]:
        async with AsyncExitStack() as stack:
            with stage("push.fetch"):
                opened = self._mirrors.open(push.repository, ref=push.ref, commit=push.commit)
                snapshot = await stack.enter_async_context(opened)
            yield snapshot

    @contextmanager
    def _on_its_way(self, push: Push, stream: ZipStream) -> Iterator[None]:
        self._streams[push.id] = stream
        try:
            yield
        finally:
            self._streams.pop(push.id, None)

    def _print(self, push: Push) -> str:
        """Equal for archives that hold the same entries in the same form."""
        text = f"{push.commit}\n{self._format}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    # --- start ------------------------------------------------------------------------------------

    async def _start_target(
        self, push: Push, target: Target, ready: Ready, guard: Guard, covers: Sequence[Work]
    ) -> None:
        begun = time.monotonic()
        with stage("push.start", rule=target.rule, project=target.project):
            outcome = await self._settle(push, target, ready, guard, covers)
        timings = {**ready.timings, "start": time.monotonic() - begun}
        timings = {name: round(seconds, 4) for name, seconds in timings.items()}
        guard()
        await self._ledger.record(push, replace(outcome, timings=timings))
        since = (datetime.now(UTC) - push.time).total_seconds()
        archive, build = outcome.archive, outcome.build
        logger().info(
            f"push.{outcome.verdict}",
            reason=outcome.reason,
            rule=target.rule,
            project=target.project,
            build_id=build.id if build else None,
            build_arn=build.arn if build else None,
            bucket=archive.bucket if archive else None,
            key=archive.key if archive else None,
            bytes=archive.size_bytes if archive else None,
            archive_kind=archive.kind if archive else None,
            sent_bytes=archive.sent_bytes if archive else None,
            since_push_seconds=round(max(0.0, since), 3),
            **{f"{name}_seconds": seconds for name, seconds in timings.items()},
        )

    async def _settle(
        self, push: Push, target: Target, ready: Ready, guard: Guard, covers: Sequence[Work]
    ) -> Outcome:
        if target.action is Action.IGNORE:
            return Outcome(Verdict.IGNORED, f"rule: {target.rule}", target)
        if ready.stale:
            return Outcome(Verdict.STALE, ready.stale, target)
        archive = ready.archives.get(target.key)
        if archive is None:
            try:
                archive = await self._upload_in_turn(push, target, guard)
            except Unreachable as error:
                return Outcome(Verdict.STALE, error.reason, target)
        if target.action is Action.UPLOAD:
            return Outcome(Verdict.UPLOADED, f"rule: {target.rule}", target, archive)
        build = await self._build(push, target, archive, ready.work, guard, covers)
        return Outcome(Verdict.BUILT, f"rule: {target.rule}", target, archive, build)

    async def _upload_in_turn(self, push: Push, target: Target, guard: Guard) -> StoredArchive:
        """An object that other pushes write too is written in order, hence only now (I2)."""
        async with self._open_snapshot(push) as snapshot:
            return await self._upload(push, target.key, snapshot, guard)

    async def _build(
        self,
        push: Push,
        target: Target,
        archive: StoredArchive,
        work: Work,
        guard: Guard,
        covers: Sequence[Work],
    ) -> Build:
        project = target.project or ""
        variables = variables_of(push, target)
        if self._traced:
            variables["TRACEPARENT"] = f"00-{trace_id(push.id)}-{root_span_id(push.id)}-01"
        oldest = covers[0].push if covers else None
        if oldest is not None and oldest.old_commit:
            variables["OLD_COMMIT_ID"] = oldest.old_commit
        request = BuildRequest(
            project=project,
            bucket=archive.bucket,
            key=archive.key,
            token=token_of(push, project),
            variables=variables,
            version_id=archive.version_id,
        )
        try:
            sent = work.message.sent
            if sent and (work.doubtful or work.message.receive_count > 1):
                since = sent - _CLOCK_SKEW
                found = await self._builder.find_recent(project, push.id, since=since)
                if found is not None:
                    return found
            return await self._builder.start(request, guard=guard)
        except NoPermission as error:
            # One project that this role may not build must not end the service for all others.
            raise Reject(error.reason, remedy=error.remedy) from error

    async def _why_stale(self, push: Push) -> str:
        """Why the push is overtaken, or nothing: ancestry decides, not arrival.

        Only a push that is older than the newest one built of its ref can be. A force push back, or
        a branch made anew, is newer by its own time, or names the built commit as its old one.
        """
        head = await self._ledger.head(push) if self._skip_stale else None
        if head is None or head.event_id == push.id:
            return ""
        if push.time >= head.time or push.old_commit == head.commit:
            return ""
        try:
            async with self._open_snapshot(push) as snapshot:
                older = await snapshot.is_ancestor(push.commit, head.commit)
        except Unreachable as error:
            return error.reason
        if not older or await self._ledger.is_forced(push):
            return ""
        return f"commit {head.commit}, which contains it, was built before"


def _is_own(push: Push, target: Target) -> bool:
    """Whether the target's object is this commit's alone, so that it may be written out of turn."""
    return push.commit[:12] in target.key
