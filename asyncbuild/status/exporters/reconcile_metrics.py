"""Prometheus metrics of rounds: pushes that no event told, and repositories looked at."""

from typing import Final

from asyncbuild.domain.events.event import Event
from asyncbuild.domain.events.reconcile_events import (
    PushFound,
    ReconcileDelayed,
    ReconcileFailed,
    ReconcileLooked,
    ReconcileRound,
)
from asyncbuild.status.exporters.prometheus_series import SeriesMaker

_ENDS: Final = {
    ReconcileLooked: "looked",
    ReconcileDelayed: "delayed",
    ReconcileFailed: "failed",
}


class ReconcileMetrics:
    """Subscriber to events of rounds."""

    def __init__(self, make: SeriesMaker) -> None:
        self._found = make.counter(
            "pushes_found", "Pushes that no event told and that rounds of this task found."
        )
        self._rounds = make.counter("rounds", "Rounds over all repositories that this task began.")
        self._looks = make.counter(
            "repositories_looked",
            "Looks of this task at repositories in rounds, by their end: looked; delayed, by a "
            "limit or an outage; failed, which is counted once for each reason.",
            end=tuple(_ENDS.values()),
        )

    def hear(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, PushFound):
            self._found.inc()
        elif isinstance(event, ReconcileRound):
            self._rounds.inc()
        elif end := _ENDS.get(type(event)):
            self._looks.labels(end).inc()
