"""Values that describe a push on its way: read, prepared, to be dispatched."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from asyncbuild.builds.ledger_records import Head
from asyncbuild.domain.contents.known_changes import ComparedTarget, KnownChanges
from asyncbuild.domain.errors import Reject, StageError
from asyncbuild.domain.model import (
    TIP,
    Guard,
    Message,
    Nothing,
    Outcome,
    Push,
    StoredArchive,
    Target,
)
from asyncbuild.domain.reports.skipped_target import SkippedTarget
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.domain.rules.route import NOTHING_KNOWN
from asyncbuild.domain.rules.targets import TargetName


@dataclass(frozen=True, slots=True)
class Work:
    """A message and its event; a `Reject` if it cannot be understood."""

    message: Message
    event: Push | Nothing | Reject
    more: tuple[Push, ...] = ()  # further pushes of the message, in order: several refs in one push
    faults: tuple[Reject, ...] = ()  # other parts of the message that cannot be understood
    later: tuple[Push | Nothing, ...] = ()  # events known to have come after it, of any ref

    @property
    def push(self) -> Push | None:
        """The push, if the event is one."""
        return self.event if isinstance(self.event, Push) else None

    @property
    def pushes(self) -> tuple[Push, ...]:
        """All pushes of the message."""
        return (self.push, *self.more) if self.push else ()

    @property
    def supersedable_ref(self) -> str | None:
        """Repository and ref, if a newer push of that ref may cover this message; else None.

        A request for a tip covers none: a server that lags may show an older commit as the tip. A
        push that was found is not covered: an event that comes late may be older.
        """
        push = None if self.more or self.faults else self.push
        if push is None or not push.joins_order or push.commit == TIP:
            return None
        if push.terms is not None and push.terms.since is not None:
            return None
        return f"{push.repository.path}:{push.ref}"


@dataclass(frozen=True, slots=True)
class PreparedPush:
    """One push that waits for its dispatch.

    Attributes:
        push: The push.
        targets: What is still to be done.
        archives: By key, those that are whole in S3.
        stale: Why nothing is to be built; empty if something is.
        timings: Seconds by stage.
        failed: Why the whole push could not be prepared; tried again when it is dispatched.
        failures: Failures of single archives, by key. All other targets are carried out all the
            same.
        skipped: Projects and pipelines that the `changes` of their rules left out.
        changes: What the push changed, as far as rules ask.
        compared: What its targets are compared with, by their names.
    """

    push: Push
    targets: tuple[Target, ...] = ()
    archives: Mapping[str, StoredArchive] = field(default_factory=dict)
    stale: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    failed: StageError | None = None
    failures: Mapping[str, StageError] = field(default_factory=dict)
    skipped: tuple[SkippedTarget, ...] = ()
    changes: KnownChanges = NOTHING_KNOWN
    compared: Mapping[TargetName, ComparedTarget] = field(default_factory=dict)

    @property
    def parts(self) -> int:
        """Number of parts that are settled on their own."""
        return len(self.targets) or 1


@dataclass(frozen=True, slots=True)
class PreparedMessage:
    """A message whose pushes are prepared, in their order; none if it asks for nothing."""

    work: Work
    pushes: tuple[PreparedPush, ...] = ()


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A prepared message whose turn it is.

    Attributes:
        prepared: What is to be started.
        covers: Older messages of the same ref that this one covers.
        tried_seconds_ago: Time since a start was first tried in this delivery; None if it was not.
        is_duplicate: Whether an older message of the same delivery is about the same event.
    """

    prepared: PreparedMessage
    covers: Sequence[Work] = ()
    tried_seconds_ago: float | None = None
    is_duplicate: bool = False

    @property
    def is_first(self) -> bool:
        """Return whether nothing of the message was tried in this delivery before."""
        return self.tried_seconds_ago is None and not self.is_duplicate


class PreparesPushes(Protocol):
    """Prepares one push; `pushes.prepare.PushPreparer` is one."""

    async def prepare(self, work: Work, push: Push, guard: Guard) -> PreparedPush:
        """Fetch, archive and upload what the targets of a push need.

        Args:
            work: The message of the push.
            push: The push.
            guard: Asked before anything is committed (I4).

        Raises:
            StageError: The stage that failed raised it.
        """


class FindsChanges(Protocol):
    """Finds what pushes leave out; `pushes.changed_content.ChangeFinder` does."""

    async def look_again(self, prepared: PreparedPush) -> PreparedPush:
        """Return a push as what has passed by now leaves it, in its turn. Raises StageError."""


class EnsuresArchives(Protocol):
    """Uploads the archive of one target; `pushes.archives.Archives` does."""

    async def ensure(self, work: Work, push: Push, target: Target, guard: Guard) -> StoredArchive:
        """Return the target's archive, made now; as `Archives.ensure`. Raises StageError."""


class RecordsStarts(Protocol):
    """Records what pushes start; `builds.result_ledger.ResultLedger` does."""

    async def record_start(self, push: Push, outcome: Outcome) -> StartedBuild | None:
        """Record what a push has started; return it, None if it has started nothing.

        Args:
            push: The push.
            outcome: What was done for one target.

        Raises:
            StageError: It could not be recorded.
        """


class SupersedesBuilds(Protocol):
    """Stops older builds of a ref; `results.superseding.cancel_worker.CancelWorker` does."""

    async def add(self, started: StartedBuild, push: Push, head: Head) -> None:
        """Record that a build runs, which a newer push may stop, before the record of its push.

        Args:
            started: The build.
            push: Its push.
            head: Head of the ref, which is this push.

        Raises:
            StageError: It could not be recorded.
        """

    def notice(
        self, started: StartedBuild, is_newest: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        """Stop the older builds, soon; called after the record of the push.

        Args:
            started: The build.
            is_newest: Asks whether its push is the newest of the ref, if its time does not tell.
        """


class ReportsSkips(Protocol):
    """Reports what pushes left out; `reports.report_sender.ReportSender` does."""

    async def send_skips(self, push: Push, skipped: Sequence[SkippedTarget]) -> None:
        """Report what a push left out; a failure is told, and delays nothing.

        Args:
            push: The push.
            skipped: What the `changes` of rules left out.
        """
