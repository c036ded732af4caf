"""Catalogue of all events: importing it completes `EVENTS`. A stage imports what it emits alone."""

from asyncbuild.domain.events import (
    cancel_events,
    git_events,
    outcome_events,
    push_events,
    queue_events,
    reconcile_events,
    report_events,
    result_events,
    seed_events,
    service_events,
    stage_events,
)
from asyncbuild.domain.events.event import EVENTS, PUSH_FIELDS

__all__ = [
    "EVENTS",
    "PUSH_FIELDS",
    "cancel_events",
    "git_events",
    "outcome_events",
    "push_events",
    "queue_events",
    "reconcile_events",
    "report_events",
    "result_events",
    "seed_events",
    "service_events",
    "stage_events",
]
