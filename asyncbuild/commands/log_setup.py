"""Log set-up of the process: lines of events, of libraries and of Python itself, in one form."""

import logging
import sys
import threading
from typing import Any

import structlog

from asyncbuild.config.sections import LogSettings
from asyncbuild.domain.events.service_events import LibraryLogged
from asyncbuild.runtime.log import LEVELS, renderers, set_up, stamp_time


def configure(settings: LogSettings) -> bool:
    """Set up the lines of events, and those of libraries and of Python.

    Returns:
        Whether lines are JSON.
    """
    as_json = set_up(settings)
    _adopt_libraries(LEVELS[settings.level], as_json=as_json)
    if as_json:
        _adopt_uncaught()
    return as_json


def _adopt_libraries(level: int, *, as_json: bool) -> None:
    """Write warnings of botocore, aiohttp, asyncio and Python in the form of events.

    Only warnings and errors: botocore's debug lines contain signatures (I10).
    """
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars, _as_event, stamp_time],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *renderers(as_json),
            *([_decode] if as_json else []),
        ],
    )
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(formatter)
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[stream], force=True)
    logging.captureWarnings(capture=True)


def _adopt_uncaught() -> None:
    """Write an uncaught error as one line, with its traceback inside."""
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
    """Return a library's record as one common event: its text varies and cannot name the event."""
    record: logging.LogRecord = line["_record"]
    level = "error" if record.levelno >= logging.ERROR else "warning"
    says = str(line.pop("event")).strip()
    told = LibraryLogged(logger=record.name, reason=says)
    return {**line, "event": told.name, "level": level, **told.fields()}


def _decode(_: object, __: str, line: Any) -> str:  # noqa: ANN401 - the renderer's bytes
    return str(line, "utf-8")
