"""Prometheus metrics of commit statuses: posted by state and forge, and reports that were not."""

from typing import Final

from asyncbuild.domain.events.event import Event
from asyncbuild.domain.events.report_events import (
    ReportDeadLettered,
    ReportDelayed,
    ReportNotSent,
    ReportPassedOver,
    ReportPosted,
)
from asyncbuild.domain.reports.commit_status import StatusState
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.status.exporters.prometheus_series import SeriesMaker

_ENDS: Final = {
    ReportNotSent: "not-sent",
    ReportPassedOver: "passed-over",
    ReportDelayed: "delayed",
    ReportDeadLettered: "dead-lettered",
}


class ReportMetrics:
    """Subscriber to events of reports."""

    def __init__(self, make: SeriesMaker) -> None:
        self._posted = make.counter(
            "statuses_posted",
            "Commit statuses that this task posted, by state and by kind of forge.",
            state=tuple(StatusState),
            forge=tuple(ForgeKind),
        )
        self._unposted = make.counter(
            "reports_unposted",
            "Reports that led to no status: not sent to their queue, passed over for a later one, "
            "delayed and tried again, or dead-lettered.",
            end=tuple(_ENDS.values()),
        )

    def hear(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, ReportPosted):
            self._posted.labels(event.state, event.forge).inc()
        elif end := _ENDS.get(type(event)):
            self._unposted.labels(end).inc()
