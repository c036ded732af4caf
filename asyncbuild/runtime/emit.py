"""`emit` reports events to the log and every subscriber.

An event of a push is emitted inside `about`, so that subscribers know the push. A stage of a push
runs inside `stage`, which emits its start and its end. `domain/events/` has all events.

structlog is imported with the first line of the log: a small archive is made before it is loaded.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from asyncbuild.domain.errors import Kind, StageError
from asyncbuild.domain.events.event import Emitted, Event, LogLevel, PushIdentity
from asyncbuild.domain.model import Push

if TYPE_CHECKING:
    from asyncbuild.domain.events.stage_events import (
        StageCancelled,
        StageFailed,
        StageFinished,
        StageStarted,
    )

# Nothing is wrong with the push: a limit, a lost lease, a commit that is gone.
_HARMLESS: Final = frozenset({Kind.BUSY, Kind.LEASE_LOST, Kind.UNREACHABLE})

Subscriber = Callable[[Emitted], None]
"""Function that takes one event. It must be quick."""

# Set-ups of the log that wait for its first line.
_before_first_line: Final[list[Callable[[], None]]] = []
# Context variables: subscribers hear the tasks that are started inside `subscribed`, no others.
_subscribers: ContextVar[tuple[Subscriber, ...]] = ContextVar("subscribers", default=())
_push: ContextVar[PushIdentity | None] = ContextVar("push", default=None)
# Stage that runs in this task: a stage that is started then is part of it.
_stage: ContextVar[str] = ContextVar("stage", default="")


def emit(
    event: Event, *, level: LogLevel | None = None, error: BaseException | None = None
) -> None:
    """Report an event to every subscriber, then to the log.

    Args:
        event: The event.
        level: One of its levels; by default its first.
        error: Exception whose traceback the log line gets.
    """
    from asyncbuild.runtime import log as logs  # noqa: PLC0415 - see above

    emitted = Emitted(event, level or event.levels[0], _push.get())
    for hear in _subscribers.get():
        try:
            hear(emitted)
        except Exception:  # a bug of a subscriber must not fail a push
            logging.getLogger(__name__).exception("a listener failed at %s", event.name)
    _set_up_log()
    logs.write(emitted, error)


def set_up_at_first_line(set_up: Callable[[], None]) -> None:
    """Call a function before the first event is written; it sets the log up."""
    _before_first_line.append(set_up)


def _set_up_log() -> None:
    while _before_first_line:
        _before_first_line.pop()()


@contextmanager
def subscribed(*subscribers: Subscriber) -> Iterator[None]:
    """Subscribe to every event of the tasks that are started inside the context."""
    from asyncbuild.runtime import log as logs  # noqa: PLC0415 - see above

    _set_up_log()
    logs.require_configured()
    token = _subscribers.set((*_subscribers.get(), *subscribers))
    try:
        yield
    finally:
        _subscribers.reset(token)


@contextmanager
def about(push: Push | PushIdentity) -> Iterator[None]:
    """Make `push` the subject of every event and every log line inside, libraries' lines too."""
    import structlog  # noqa: PLC0415 - see above

    identity = PushIdentity.of(push) if isinstance(push, Push) else push
    token = _push.set(identity)
    try:
        with structlog.contextvars.bound_contextvars(**identity.fields()):
            yield
    finally:
        _push.reset(token)


@dataclass(slots=True)
class Ending:
    """Event for the successful end of a stage: a stage with results binds them to `finished`."""

    finished: "Callable[..., StageFinished]"


@contextmanager
def stage(started: "StageStarted") -> Iterator[Ending]:
    """Emit `started`, then that the stage finished, failed or was cancelled, with the duration.

    A failure passes through the stages around it. The outermost of them reports it at level info or
    warning; those inside report theirs at level debug, for subscribers.

    Yields:
        The event at its end; `duration_seconds` is added when it is known.
    """
    from asyncbuild.domain.events.stage_events import ENDS  # noqa: PLC0415 - its caller did

    ends, own, begun = ENDS[type(started)], started.fields(), time.monotonic()
    ending = Ending(partial(ends.finished, **own))
    emit(started)
    outer, token = _stage.get(), _stage.set(started.stage_name)
    try:
        yield ending
    except Exception as error:
        failed = _failed(partial(ends.failed, **own), error, started.stage_name, _since(begun))
        harmless = failed.kind in _HARMLESS
        emit(failed, level="debug" if outer else "info" if harmless else "warning")
        raise
    except BaseException:
        cancelled: StageCancelled = ends.cancelled(**own, duration_seconds=_since(begun))
        emit(cancelled)
        raise
    else:
        emit(ending.finished(duration_seconds=_since(begun)))
    finally:
        _stage.reset(token)


def _failed(
    event: "Callable[..., StageFailed]", error: Exception, stage_name: str, seconds: float
) -> "StageFailed":
    """Return the failure with kind, reason, the other side, and the innermost stage that failed."""
    kind, peer, innermost = Kind.BUG, "", stage_name
    if isinstance(error, StageError):
        innermost = error.stage = error.stage or stage_name
        kind, peer = error.kind, error.peer
    return event(duration_seconds=seconds, kind=kind, reason=str(error), peer=peer, stage=innermost)


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 4)
