"""Judges of the event bus for outcome events. Pure.

Source: EventBridge user guide, "Sending events with PutEvents": events for a bus that does not
exist are accepted and dropped.
"""

from typing import Final

from asyncbuild.checks.judges.finding import Finding, Level
from asyncbuild.domain.errors import StageError

_NAME: Final = "reports.event_bus"
_DROPPED: Final = "EventBridge accepts events for a bus that does not exist, and drops them"


def judge_bus(name: str) -> Finding:
    """Return the finding about a bus that exists."""
    return Finding(Level.OK, _NAME, f"event bus {name} exists")


def judge_missing_bus(name: str) -> Finding:
    """Return the finding about a bus that does not exist."""
    return Finding(
        Level.PROBLEM,
        _NAME,
        f"event bus {name} does not exist",
        _DROPPED,
        'create it, or set reports.event_bus to another one: "default" exists in each account',
    )


def judge_unknown_bus(name: str, error: StageError) -> Finding:
    """Return the finding about a bus that this caller may not look at.

    Args:
        name: Name or ARN of the bus.
        error: The refusal.
    """
    return Finding(
        Level.NOTE,
        _NAME,
        f"event bus {name}: cannot tell whether it exists ({error.code})",
        _DROPPED,
        "look with `aws events describe-event-bus`, or allow events:DescribeEventBus on it; the "
        "service itself does without",
    )
