"""`emit` tells the log and every subscriber what happens.

What happens for a push is emitted inside `about`, so that subscribers know the push. A stage of its
way is inside `stage`, which emits its beginning and its end. `domain/events/` has all events.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from asyncbuild.domain.errors import Kind, StageError
from asyncbuild.domain.events.event import Emitted, Event, LogLevel, PushIdentity
from asyncbuild.domain.events.stage_events import (
    ENDS,
    StageCancelled,
    StageFailed,
    StageFinished,
    StageStarted,
)
from asyncbuild.domain.model import Push
from asyncbuild.runtime import log as logs

# Nothing is wrong with the push: a limit, a lease in other hands, a commit that is gone.
_HARMLESS: Final = frozenset({Kind.BUSY, Kind.LEASE_LOST, Kind.UNREACHABLE})

Subscriber = Callable[[Emitted], None]
"""Takes one event. It must be quick."""

# Context variables: every task that is begun inside `subscribed` is heard, and no other.
_subscribers: ContextVar[tuple[Subscriber, ...]] = ContextVar("subscribers", default=())
_push: ContextVar[PushIdentity | None] = ContextVar("push", default=None)
# The stage that is under way in this task: a stage that is begun then is part of it.
_stage: ContextVar[str] = ContextVar("stage", default="")


def emit(
    event: Event, *, level: LogLevel | None = None, error: BaseException | None = None
) -> None:
    """Tell every subscriber, then the log.

    Args:
        event: What happened.
        level: One of its levels; by default its first.
        error: The log gets its traceback.
    """
    emitted = Emitted(event, level or event.levels[0], _push.get())
    for hear in _subscribers.get():
        try:
            hear(emitted)
        except Exception:  # a subscriber's bug is no push's failure
            logging.getLogger(__name__).exception("a listener failed at %s", event.name)
    logs.write(emitted, error)


@contextmanager
def subscribed(*subscribers: Subscriber) -> Iterator[None]:
    """Let `subscribers` hear every event of the tasks that are begun inside."""
    logs.require_configured()
    token = _subscribers.set((*_subscribers.get(), *subscribers))
    try:
        yield
    finally:
        _subscribers.reset(token)


@contextmanager
def about(push: Push) -> Iterator[None]:
    """Let every event inside be about `push`, and every line, those of libraries too."""
    identity = PushIdentity.of(push)
    token = _push.set(identity)
    try:
        with structlog.contextvars.bound_contextvars(**identity.fields()):
            yield
    finally:
        _push.reset(token)


@dataclass(slots=True)
class Ending:
    """How a stage tells that it ended well: a stage with results gives them to `finished`."""

    finished: Callable[..., StageFinished]


@contextmanager
def stage(started: StageStarted) -> Iterator[Ending]:
    """Emit `started`, then that the stage finished, failed or was cancelled, with the duration.

    A failure passes through the stages around it. It is told once, by the outermost of them, at
    level info or warning; those inside tell theirs at level debug, for subscribers.

    Yields:
        The event at its end; `duration_seconds` is put in when it is known.
    """
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
    event: Callable[..., StageFailed], error: Exception, stage_name: str, seconds: float
) -> StageFailed:
    """Return the failure with kind, reason, the other side, and the innermost stage that failed."""
    kind, peer, innermost = Kind.BUG, "", stage_name
    if isinstance(error, StageError):
        innermost = error.stage = error.stage or stage_name
        kind, peer = error.kind, error.peer
    return event(duration_seconds=seconds, kind=kind, reason=str(error), peer=peer, stage=innermost)


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 4)
