"""Events of outcome events: sent to EventBridge, delayed, given up."""

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Event, event
from asyncbuild.domain.outcomes.outcome_event import DetailType


@event("outcome.sent", "info")
class OutcomeSent(Event):
    """EventBridge took an outcome event. `since_end_seconds` counts from the end of the build."""

    outcome_id: str
    detail_type: DetailType
    since_end_seconds: float


@event("outcome.delayed", "warning")
class OutcomeDelayed(Event):
    """EventBridge did not take outcome events of a build; they wait for the next round."""

    events: int
    kind: Kind
    reason: str


@event("outcome.given-up", "error")
class OutcomeGivenUp(Event):
    """An outcome event was not taken for a week, or cannot be read, and is sent no more."""

    outcome_id: str
    detail_type: str
    kind: Kind
    reason: str


@event("outcomes.off", "warning")
class OutcomesOff(Event):
    """EventBridge refuses outcome events, or has no such bus: none are tried for a while."""

    bus: str
    reason: str
    seconds: float
