"""Emitted events, as lines of the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asyncbuild.domain.events.event import Emitted
from asyncbuild.runtime.emit import subscribed

Lines = list[dict[str, Any]]


def line_of(told: Emitted) -> dict[str, Any]:
    """Return the log's line of an event, without its time."""
    return {"event": told.event.name, "level": told.level, **told.fields()}


@contextmanager
def hearing() -> Iterator[Lines]:
    """Collect the lines logged inside, also by tasks that are started inside.

    Each line is a copy.
    """
    lines: Lines = []
    with subscribed(lambda told: lines.append(line_of(told))):
        yield lines
