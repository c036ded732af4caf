"""Events of reports: posted, passed over, delayed, given up."""

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Event, event
from asyncbuild.domain.reports.commit_status import StatusState
from asyncbuild.domain.repository import ForgeKind


@event("report.posted", "info", of_push=True)
class ReportPosted(Event):
    """A commit status was posted. `since_sent_seconds` counts from the report's message."""

    context: str
    state: StatusState
    description: str
    attempt: int
    since_sent_seconds: float
    forge: ForgeKind


@event("report.passed-over", "debug", of_push=True)
class ReportPassedOver(Event):
    """A report is not posted, for this reason: a later one was, or its host wants none."""

    context: str
    state: StatusState
    reason: str


@event("report.not-sent", "warning", of_push=True)
class ReportNotSent(Event):
    """A pending status is not reported, because the queue of reports cannot be reached."""

    context: str
    kind: Kind
    reason: str


@event("report.delayed", "warning")
class ReportDelayed(Event):
    """A report could not be posted; its message becomes visible again later."""

    message_id: str
    kind: Kind
    reason: str
    retry_in_seconds: float


@event("report.dead-lettered", "error")
class ReportDeadLettered(Event):
    """A report was given up and moved to its dead-letter queue."""

    message_id: str
    repository: str
    kind: Kind
    reason: str


@event("reports.off", "warning")
class ReportsOff(Event):
    """A forge refuses the credential for a repository: nothing is posted to it for a while."""

    repository: str
    reason: str
    seconds: float


@event("report.receive-failed", "warning")
class ReportReceiveFailed(Event):
    """The queue of reports cannot be read; it is tried again after `retry_in_seconds`."""

    kind: Kind
    reason: str
    retry_in_seconds: float
