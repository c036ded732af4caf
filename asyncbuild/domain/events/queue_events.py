"""Events between the queue and the lanes: receives, leases, released messages."""

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Event, event


@event("consumer.stopped-receiving", "info")
class ConsumerStoppedReceiving(Event):
    """The last poll ended."""

    lanes: int


@event("queue.polled", "debug")
class QueuePolled(Event):
    """A receive was answered."""

    messages: int
    groups: int


@event("queue.receive-failed", "warning")
class QueueReceiveFailed(Event):
    """A receive failed and is tried again."""

    kind: Kind
    reason: str
    pause_seconds: float


@event("queue.one-message-per-receive", "warning")
class QueueOneMessagePerReceive(Event):
    """The queue's redrive policy allows too few receives to look ahead."""

    max_receive_count: int
    remedy: str


@event("queue.grouping", "warning")
class QueueGrouping(Event):
    """Repositories share a message group and wait for each other; told once of each group."""

    reason: str
    remedy: str


@event("lease.renewed", "debug")
class LeaseRenewed(Event):
    """The lease of a lane's messages was renewed: they stay invisible."""

    messages: int


@event("lease.renewal-failed", "warning")
class LeaseRenewalFailed(Event):
    """A renewal failed; it is tried again before the lease runs out."""

    messages: int
    reason: str


@event("lease.lost", "warning")
class LeaseLostToAnother(Event):
    """Another consumer may have received the messages: nothing more is committed for them."""

    reason: str
    group: str | None = None
    message_id: str | None = None


@event("lane.released", "info")
class LaneReleased(Event):
    """Messages were released, hidden for a while if their repository waits for others."""

    messages: int
    hidden_seconds: int | None = None
    group: str | None = None
    reason: str | None = None


@event("lane.release-failed", "warning")
class LaneReleaseFailed(Event):
    """A release failed; the messages become visible when their visibility timeout ends."""

    messages: int
    reason: str


@event("webhook.unverified", "debug", "warning")
class WebhookUnverified(Event):
    """A request came without a good signature.

    The first 20 of a host and hour become dead letters (`kept`), the others are deleted and counted
    here; level warning at the first of those.
    """

    message_id: str
    host: str
    kept: bool
    reason: str
