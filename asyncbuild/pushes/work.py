"""Values that a push is on its way: a message read, prepared, and in its turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from asyncbuild.domain.errors import Reject, StageError
from asyncbuild.domain.model import Guard, Message, Nothing, Push, StoredArchive, Target


@dataclass(frozen=True, slots=True)
class Work:
    """A message and what it says; a `Reject` if it says nothing that can be understood."""

    message: Message
    event: Push | Nothing | Reject
    more: tuple[Push, ...] = ()  # of the same message, in their order: several refs in one push
    faults: tuple[Reject, ...] = ()  # what else is in the message and cannot be understood
    later: tuple[Push | Nothing, ...] = ()  # what is known to have come after it, of any ref

    @property
    def push(self) -> Push | None:
        """The push, if it is one."""
        return self.event if isinstance(self.event, Push) else None

    @property
    def pushes(self) -> tuple[Push, ...]:
        """All pushes of the message."""
        return (self.push, *self.more) if self.push else ()

    @property
    def supersedable_ref(self) -> str | None:
        """What a newer push of the same ref may stand in for."""
        push = None if self.more or self.faults else self.push
        return f"{push.repository.path}:{push.ref}" if push else None


@dataclass(frozen=True, slots=True)
class PreparedPush:
    """One push that waits for its dispatch.

    Attributes:
        push: Whose targets they are.
        targets: What is still to be done.
        archives: By key, those that are whole in S3.
        stale: Why nothing is to be built; empty if something is.
        timings: Seconds by stage.
        failed: Why the whole push could not be prepared; tried again when it is dispatched.
        failures: The same for single archives, by key. What is not among them is done all the same.
    """

    push: Push
    targets: tuple[Target, ...] = ()
    archives: Mapping[str, StoredArchive] = field(default_factory=dict)
    stale: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    failed: StageError | None = None
    failures: Mapping[str, StageError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreparedMessage:
    """A message whose pushes are prepared, in their order; none if it asks for nothing."""

    work: Work
    pushes: tuple[PreparedPush, ...] = ()

    @property
    def parts(self) -> int:
        """Number of parts of the message that are settled on their own."""
        return sum(len(each.targets) or 1 for each in self.pushes) + len(self.work.faults)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A prepared message whose turn it is.

    Attributes:
        prepared: What is to be started.
        covers: Older messages of the same ref for which this one stands.
        tried_seconds_ago: When a start was first tried here; None if it was not.
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
    """Prepares one push; `pushes.prepare.PushPreparer` does."""

    async def prepare(self, work: Work, push: Push, guard: Guard) -> PreparedPush:
        """Fetch, archive and upload what the targets of a push need. Raises StageError."""
