"""Patience with events that come before the index entry, or before CodeBuild tells an end. Pure."""

from datetime import datetime, timedelta
from typing import Final

from asyncbuild.domain.results.build_result import StartedKind
from asyncbuild.results.facts.attempt_facts import AttemptFacts
from asyncbuild.results.facts.result_messages import StateChange

PATIENCE: Final = timedelta(minutes=10)
"""Age up to which a message waits for the index entry of its build, or for its end to show."""


def is_young(sent: datetime | None, now: datetime) -> bool:
    """Return whether a message may still wait; one without a time may not."""
    return sent is not None and now - sent < PATIENCE


def is_behind(change: StateChange, known: AttemptFacts | None) -> bool:
    """Return whether an event told an end that CodeBuild or CodePipeline does not show yet.

    An execution may end again, after its failed stage was tried again: it shows another end then.

    Args:
        change: What the event said.
        known: The newest attempt, as its service said afterwards; None if it knows none.
    """
    if known is None:
        return True
    same, shown = known.result.attempt_id == change.of.id, known.result.status
    if not same or not change.status.is_end:
        return False
    ends_again = change.of.kind is StartedKind.EXECUTION and shown is not change.status
    return ends_again or not shown.is_end
