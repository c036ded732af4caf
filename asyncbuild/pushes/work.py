"""What the pipeline passes from `prepare` to `start`. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from asyncbuild.domain.errors import Reject, StageError
from asyncbuild.domain.model import Message, Nothing, Push, StoredArchive, Target


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
class Ready:
    """A push that waits for its turn: targets still to be done, and their archives by key.

    What failed while it was prepared is tried again in its turn: `failed` is the whole push,
    `failures` are archives by key. What is not in them is done all the same.
    """

    work: Work
    targets: tuple[Target, ...] = ()
    archives: Mapping[str, StoredArchive] = field(default_factory=dict)
    stale: str = ""  # why nothing is to be built, if so
    timings: Mapping[str, float] = field(default_factory=dict)
    more: "tuple[Ready, ...]" = ()  # the message's other pushes
    failed: StageError | None = None
    failures: Mapping[str, StageError] = field(default_factory=dict)

    @property
    def parts(self) -> int:
        """Number of parts of the message that are settled on their own."""
        own = len(self.targets) or 1
        return own + len(self.work.faults) + sum(each.parts for each in self.more)
