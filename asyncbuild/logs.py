"""Structured logs on standard error: JSON in a container, coloured lines on a terminal.

Whoever works on a push binds its fields once (`about`); every line inside carries them. A stage
logs one line when it begins and one when it ends, with its duration, by `stage`. `events.py` has
every event's name and fields.

The same lines, those for debugging too, are heard by whoever is `listening`: metrics, the page.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import orjson
import structlog

from asyncbuild.config import LogSettings
from asyncbuild.errors import StageError
from asyncbuild.model import Push, trace_id

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Nothing is wrong with the push: a limit, a lease in other hands, a commit that is gone.
_HARMLESS = frozenset({"busy", "lease-lost", "unreachable"})

Listener = Callable[[Mapping[str, Any]], None]
"""Takes one line: `event`, `level` and its fields. It must be quick and keep no reference."""

# A context variable: every task that is begun inside `listening` is heard, and no other.
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


def configure(settings: LogSettings) -> None:
    """Set up logging for the process."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    if as_json:
        last: list[Any] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
        factory: Any = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        factory = structlog.PrintLoggerFactory(sys.stderr)
    time_stamper = structlog.processors.TimeStamper(fmt="iso", utc=True)
    _configure(_drop_below(_LEVELS[settings.level]), time_stamper, *last, factory=factory)
    # botocore and asyncio log through the standard library; only their warnings matter to us.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def mute() -> None:
    """Write no line; whoever is listening hears them all the same."""
    _configure(_drop_below(max(_LEVELS.values()) + 1), factory=structlog.ReturnLoggerFactory())


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """Let `listeners` hear every line of the tasks that are begun inside."""
    if not structlog.is_configured():
        configure(LogSettings())
    token = _listeners.set((*_listeners.get(), *listeners))
    try:
        yield
    finally:
        _listeners.reset(token)


def _configure(*last: Any, factory: Any) -> None:  # noqa: ANN401 - structlog's processors have no common type
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _let_hear,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS["debug"]),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )


def _let_hear(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for listen in _listeners.get():
        try:
            listen(line)
        except Exception:  # a listener's bug is no push's failure
            logging.getLogger(__name__).exception("a listener failed at %s", line.get("event"))
    return line


def _drop_below(level: int) -> structlog.typing.Processor:
    def drop(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if _LEVELS[line["level"]] < level:
            raise structlog.DropEvent
        return line

    return drop


def _to_json(value: Mapping[str, Any], **_: object) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)


def logger() -> Any:  # noqa: ANN401 - structlog's loggers are made at run time
    """The process's logger."""
    return structlog.get_logger()


@contextmanager
def about(push: Push, **more: object) -> Iterator[None]:
    """Give every line inside the push's own fields."""
    with structlog.contextvars.bound_contextvars(
        event_id=push.id,
        account=push.repository.account,
        repository=push.repository.name,
        ref=push.ref,
        commit=push.commit,
        trace_id=trace_id(push.id),
        **more,
    ):
        yield


@contextmanager
def stage(action: str, **fields: object) -> Iterator[dict[str, object]]:
    """Log `action.started`, then `.finished`, `.failed` or `.cancelled` with the duration.

    Yields:
        A dictionary; what the body puts into it is logged when it finishes.
    """
    more: dict[str, object] = {}
    begun = time.monotonic()
    log = logger()
    log.debug(action + ".started", **fields)
    try:
        yield more
    except Exception as error:
        kind = error.kind if isinstance(error, StageError) else "bug"
        tell = log.info if kind in _HARMLESS else log.warning
        ended = {"kind": kind, "reason": str(error), "duration_seconds": _since(begun)}
        tell(action + ".failed", **fields, **ended)
        raise
    except BaseException:
        log.debug(action + ".cancelled", **fields, duration_seconds=_since(begun))
        raise
    else:
        log.info(action + ".finished", **fields, duration_seconds=_since(begun), **more)


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 4)
