"""Structured logs on standard error: JSON in a container, coloured lines on a terminal.

Whoever works on a push binds its fields once (`about`); every line inside carries them. A stage
logs one line when it begins and one when it ends, with its duration, by `stage`. `domain/events.py`
has every event's name and fields.

The same lines, those for debugging too, are heard by whoever is `listening`: metrics, the page.
"""

import io
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from typing import Any, Final, TextIO, cast

import structlog

from asyncbuild.config.sections import LogSettings
from asyncbuild.domain.errors import Kind, StageError, show
from asyncbuild.domain.foreign_text import SHOWN_MOST, plain, to_json
from asyncbuild.domain.model import Push, trace_id

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# A traceback, and lists as text: longer than a reason may be.
_LONG: Final = ("exception", "stack")
_TRACE_MOST: Final = 30_000
# Nothing is wrong with the push: a limit, a lease in other hands, a commit that is gone.
_HARMLESS = frozenset({Kind.BUSY, Kind.LEASE_LOST, Kind.UNREACHABLE})

Listener = Callable[[Mapping[str, Any]], None]
"""Takes one line: `event`, `level` and its fields. It must be quick and keep no reference."""

# A context variable: every task that is begun inside `listening` is heard, and no other.
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())
# The stage that is under way in this task: a stage that is begun then is part of it.
_stage: ContextVar[str] = ContextVar("stage", default="")


def configure(settings: LogSettings) -> bool:
    """Set up logging for the process: our lines, and whatever libraries and Python have to say.

    Returns:
        Whether lines are JSON.
    """
    as_json = _set_up(settings)
    _adopt_libraries(_LEVELS[settings.level], as_json=as_json)
    if as_json:
        _adopt_uncaught()
    return as_json


def _set_up(settings: LogSettings) -> bool:
    """Our own lines; tells whether they are JSON."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    factory: Any = (
        structlog.BytesLoggerFactory(cast("Any", _Sturdy(sys.stderr.buffer)))
        if as_json
        else structlog.PrintLoggerFactory(cast("Any", _Sturdy(sys.stderr)))
    )
    _configure(
        _drop_below(_LEVELS[settings.level]), _stamp_time, *_renderers(as_json), factory=factory
    )
    return as_json


class _Sturdy:
    """A stream whose full disk or closed pipe is no push's failure: such lines are lost."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - bytes or text
        self._stream = stream

    def write(self, line: Any) -> None:  # noqa: ANN401 - as the stream has it
        with suppress(OSError):
            self._stream.write(line)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _renderers(as_json: bool) -> list[Any]:  # noqa: FBT001 - one of two kinds
    if not as_json:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_write_trace
        )
        return [_tame, console]
    return [
        structlog.processors.format_exc_info,
        _bound,
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _bound(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Cut values that are longer than anybody reads; JSON's escapes take care of the rest."""
    most = dict.fromkeys(_LONG, _TRACE_MOST)
    for name, value in line.items():
        if isinstance(value, str) and len(value) > most.get(name, SHOWN_MOST):
            line[name] = value[: most.get(name, SHOWN_MOST) - 1] + "…"
    return line


def _tame(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Values that a terminal neither obeys nor takes for lines of the log."""
    for name, value in line.items():
        if isinstance(value, str):
            line[name] = plain(value)
        elif isinstance(value, list | tuple | dict | bytes):
            line[name] = plain(show(value))
    return line


def _write_trace(stream: TextIO, error: Any) -> None:  # noqa: ANN401 - as structlog has it
    """A traceback without local variables, which may be secrets (I10), and without controls."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    stream.write(plain(text.getvalue(), _TRACE_MOST, lines=True))


def _adopt_libraries(level: int, *, as_json: bool) -> None:
    """Warnings of botocore, aiohttp, asyncio and Python become lines like ours.

    Only warnings: what they say below that is theirs, and botocore's has signatures in it (I10).
    """
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, _as_event, _stamp_time],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *_renderers(as_json),
            *([_decode] if as_json else []),
        ],
    )
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(formatter)
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[stream], force=True)
    logging.captureWarnings(capture=True)


def _adopt_uncaught() -> None:
    """What nobody caught is one line, too, with its traceback inside."""
    python = logging.getLogger("python")

    def tell_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:  # noqa: ANN401 - a traceback or None
        python.error("uncaught: %s", kind.__name__, exc_info=(kind, error, trace))

    def tell_of_thread(uncaught: threading.ExceptHookArgs) -> None:
        kind, error = uncaught.exc_type, uncaught.exc_value
        if error is not None:
            tell_uncaught(kind, error, uncaught.exc_traceback)

    def tell_unraisable(ignored: "sys.UnraisableHookArgs") -> None:
        if ignored.exc_value is not None:
            what = ignored.err_msg or "ignored in"
            python.warning("%s %r", what, ignored.object, exc_info=ignored.exc_value)

    sys.excepthook = tell_uncaught
    threading.excepthook = tell_of_thread
    sys.unraisablehook = tell_unraisable


def _as_event(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """One event for all of them: what they say has numbers in it and is no name."""
    record: logging.LogRecord = line["_record"]
    level = "error" if record.levelno >= logging.ERROR else "warning"
    says = str(line.pop("event")).strip()
    return {
        **line,
        "event": "library.logged",
        "level": level,
        "logger": record.name,
        "reason": says,
    }


def _decode(_: object, __: str, line: Any) -> str:  # noqa: ANN401 - the renderer's bytes
    return str(line, "utf-8")


def mute() -> None:
    """Write no line; whoever is listening hears them all the same."""
    _configure(_drop_below(max(_LEVELS.values()) + 1), factory=structlog.ReturnLoggerFactory())


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """Let `listeners` hear every line of the tasks that are begun inside."""
    # Whoever else configured structlog in this process has no ear for them.
    if _let_hear not in structlog.get_config()["processors"]:
        _set_up(LogSettings())
    token = _listeners.set((*_listeners.get(), *listeners))
    try:
        yield
    finally:
        _listeners.reset(token)


_stamp_time = structlog.processors.TimeStamper(fmt="iso", utc=True)


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
    return to_json(value)


def logger() -> Any:  # noqa: ANN401 - structlog's loggers are made at run time
    """The process's logger."""
    return structlog.get_logger()


@contextmanager
def about(push: Push, **more: object) -> Iterator[None]:
    """Give every line inside the push's own fields."""
    with structlog.contextvars.bound_contextvars(
        event_id=push.id,
        account=push.repository.segments.account,
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

    A failure passes through the stages around it. It is logged once, by the outermost of them, at
    level info or warning; those inside log theirs at level debug, for listeners.

    Yields:
        A dictionary; what the body puts into it is logged when it finishes.
    """
    more: dict[str, object] = {}
    begun = time.monotonic()
    log = logger()
    log.debug(action + ".started", **fields)
    outer = _stage.set(action)
    try:
        yield more
    except Exception as error:
        inside = outer.old_value not in {Token.MISSING, ""}
        told = _about_failure(error, action)
        tell = log.debug if inside else log.info if told["kind"] in _HARMLESS else log.warning
        tell(action + ".failed", **fields, **told, duration_seconds=_since(begun))
        raise
    except BaseException:
        log.debug(action + ".cancelled", **fields, duration_seconds=_since(begun))
        raise
    else:
        log.info(action + ".finished", **fields, duration_seconds=_since(begun), **more)
    finally:
        _stage.reset(outer)


def _about_failure(error: Exception, action: str) -> dict[str, str]:
    """Kind, reason, the other side, and the innermost stage that failed."""
    if not isinstance(error, StageError):
        return {"kind": Kind.BUG, "reason": str(error), "peer": "", "stage": action}
    error.stage = error.stage or action
    return {"kind": error.kind, "reason": str(error), "peer": error.peer, "stage": error.stage}


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 4)
