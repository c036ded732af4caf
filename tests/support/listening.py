"""The events that are emitted, as lines of the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asyncbuild.domain.events.event import Emitted
from asyncbuild.runtime.emit import subscribed

Lines = list[dict[str, Any]]


def line_of(told: Emitted) -> dict[str, Any]:
    """The line that the log has of an event, without its time."""
    return {"event": told.event.name, "level": told.level, **told.fields()}


@contextmanager
def hearing() -> Iterator[Lines]:
    """Hear what is logged inside, by tasks that are begun inside; each line is a copy."""
    lines: Lines = []
    with subscribed(lambda told: lines.append(line_of(told))):
        yield lines
