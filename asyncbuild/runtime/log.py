"""Structured logs on standard error: JSON in a container, coloured lines on a terminal.

`write` makes a line of an event; `runtime/emit.py` calls it for each one. `commands/log_setup.py`
brings log records of libraries and of Python into the same form.
"""

import io
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog

from asyncbuild.config.sections import LogSettings
from asyncbuild.domain.errors import show
from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.foreign_text import SHOWN_MOST, plain, to_json

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Fields that may be longer than others: a traceback, and lists as text.
_LONG: Final = ("exception", "stack")
_TRACE_MOST: Final = 30_000


def set_up(settings: LogSettings) -> bool:
    """Set up the lines of events; return whether they are JSON."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    factory: Any = (
        structlog.BytesLoggerFactory(cast("Any", _LossyStream(sys.stderr.buffer)))
        if as_json
        else structlog.PrintLoggerFactory(cast("Any", _LossyStream(sys.stderr)))
    )
    _configure(_DropBelow(LEVELS[settings.level]), stamp_time, *renderers(as_json), factory=factory)
    return as_json


class _LossyStream:
    """A stream that drops lines when its disk is full or its pipe closed, so that no push fails."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - bytes or text
        self._stream = stream

    def write(self, line: Any) -> None:  # noqa: ANN401 - as the stream has it
        with suppress(OSError):
            self._stream.write(line)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def renderers(as_json: bool) -> list[Any]:  # noqa: FBT001 - one of two kinds
    """Return the processors that write the fields of a line as JSON, or as text for a terminal."""
    if not as_json:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_write_trace
        )
        return [_make_plain, console]
    return [
        structlog.processors.format_exc_info,
        _cut_long_values,
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _cut_long_values(
    _: object, __: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Cut values that are too long to read; JSON's escapes handle unprintable characters."""
    most = dict.fromkeys(_LONG, _TRACE_MOST)
    for name, value in line.items():
        if isinstance(value, str) and len(value) > most.get(name, SHOWN_MOST):
            line[name] = value[: most.get(name, SHOWN_MOST) - 1] + "…"
    return line


def _make_plain(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace characters that a terminal would obey, or show as a new line of the log."""
    for name, value in line.items():
        if isinstance(value, str):
            line[name] = plain(value)
        elif isinstance(value, list | tuple | dict | bytes):
            line[name] = plain(show(value))
    return line


def _write_trace(stream: TextIO, error: Any) -> None:  # noqa: ANN401 - as structlog has it
    """Write a traceback without control characters and without local variables.

    Local variables may be secrets (I10).
    """
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    stream.write(plain(text.getvalue(), _TRACE_MOST, lines=True))


def mute() -> None:
    """Write no log lines; events still reach their subscribers."""
    _configure(_DropBelow(max(LEVELS.values()) + 1), factory=structlog.ReturnLoggerFactory())


def require_configured() -> None:
    """Set up the lines of events if `configure` and `mute` did not, or a library replaced them."""
    if not any(isinstance(each, _DropBelow) for each in structlog.get_config()["processors"]):
        set_up(LogSettings())


stamp_time = structlog.processors.TimeStamper(fmt="iso", utc=True)


def _configure(*last: Any, factory: Any) -> None:  # noqa: ANN401 - structlog's processors have no common type
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS["debug"]),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )


class _DropBelow:
    """Drops lines below a level; its presence shows that the lines are set up by this module."""

    def __init__(self, level: int) -> None:
        self._level = level

    def __call__(
        self, _: object, __: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if LEVELS[line["level"]] < self._level:
            raise structlog.DropEvent
        return line


def _to_json(value: Mapping[str, Any], **_: object) -> bytes:
    return to_json(value)


def write(emitted: Emitted, error: BaseException | None = None) -> None:
    """Write the line of an event; the push's own fields are bound by `runtime.emit.about`.

    Args:
        emitted: The event.
        error: Exception whose traceback becomes a field of the line.
    """
    more = {} if error is None else {"exc_info": error}
    tell = getattr(structlog.get_logger(), emitted.level)
    tell(emitted.event.name, **emitted.event.fields(), **more)
