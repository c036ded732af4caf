"""Prometheus metrics of outcome events: sent by detail type, and those that were not."""

from asyncbuild.domain.events.event import Event
from asyncbuild.domain.events.outcome_events import (
    OutcomeDelayed,
    OutcomeGivenUp,
    OutcomeSent,
    OutcomesOff,
)
from asyncbuild.domain.outcomes.outcome_event import DetailType
from asyncbuild.status.exporters.prometheus_series import SeriesMaker


class OutcomeMetrics:
    """Subscriber to events of outcome events."""

    def __init__(self, make: SeriesMaker) -> None:
        self._sent = make.counter(
            "outcome_events_sent",
            "Outcome events that EventBridge took from this task, by detail type.",
            detail_type=tuple(DetailType),
        )
        self._unsent = make.counter(
            "outcome_events_unsent",
            "Times that EventBridge did not take outcome events, which then wait for the next "
            "round, and outcome events that were given up.",
            end=("delayed", "given-up"),
        )

    def hear(self, event: Event) -> None:
        """Count one event."""
        match event:
            case OutcomeSent(detail_type=detail_type):
                self._sent.labels(detail_type).inc()
            case OutcomeDelayed() | OutcomesOff():
                self._unsent.labels("delayed").inc()
            case OutcomeGivenUp():
                self._unsent.labels("given-up").inc()
            case _:
                pass
