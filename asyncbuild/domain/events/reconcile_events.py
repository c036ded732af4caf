"""Events of rounds: pushes that no event told, repositories that cannot be looked at."""

from datetime import datetime

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Event, event


@event("push.found", "warning", of_push=True)
class PushFound(Event):
    """A round found a push that no event told; it is sent to the queue of pushes.

    `old_commit` is left out for a new ref. `last_elsewhere_at` is when the ref was last seen at its
    old commit, or not at all.
    """

    reason: str
    old_commit: str | None
    last_elsewhere_at: datetime


@event("reconcile.looked", "debug")
class ReconcileLooked(Event):
    """A round has looked at a repository.

    `differing` counts the refs that are not as the last round saw them; of those `seen` were known
    to the ledger, `found` became pushes, and `waiting` are looked at again after a while.
    `baseline` is true for a repository that was looked at for the first time.
    """

    repository: str
    refs: int
    differing: int
    seen: int
    found: int
    waiting: int
    baseline: bool
    seconds: float


@event("reconcile.round", "info")
class ReconcileRound(Event):
    """A round began: one message for each repository was sent. `seconds` is how long that took."""

    scheduled_at: datetime
    repositories: int
    seconds: float


@event("reconcile.delayed", "info")
class ReconcileDelayed(Event):
    """A repository, or a round, is tried again later: a limit or an outage."""

    repository: str
    kind: Kind
    reason: str
    retry_in_seconds: float


@event("reconcile.failed", "warning")
class ReconcileFailed(Event):
    """A repository cannot be looked at in this round; told once for each reason by a task."""

    repository: str
    kind: Kind
    reason: str


@event("reconcile.dead-lettered", "error")
class ReconcileDeadLettered(Event):
    """A message of the queue of rounds was given up and moved to its dead-letter queue."""

    message_id: str
    kind: Kind
    reason: str


@event("reconcile.receive-failed", "warning")
class ReconcileReceiveFailed(Event):
    """The queue of rounds cannot be read; it is tried again after `retry_in_seconds`."""

    kind: Kind
    reason: str
    retry_in_seconds: float
