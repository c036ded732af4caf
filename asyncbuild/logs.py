"""Structured logs on standard error: JSON in a container, coloured lines on a terminal.

Whoever works on a push binds its fields once (`about`); every line inside carries them. A stage
logs one line when it ends, with its duration, by `stage`.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import structlog

from asyncbuild.config import LogSettings
from asyncbuild.errors import StageError
from asyncbuild.model import Push

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(settings: LogSettings) -> None:
    """Set up logging for the process."""
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        last: list[Any] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
        factory: Any = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )
    # botocore and asyncio log through the standard library; only their warnings matter to us.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def hand_over(watch: Callable[[Mapping[str, Any]], None]) -> None:
    """Give every line, those for debugging too, to `watch` instead of writing it."""

    def give(_: object, __: str, line: Mapping[str, Any]) -> str:
        watch(line)
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            give,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS["debug"]),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )


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
        **more,
    ):
        yield


@contextmanager
def stage(action: str, **fields: object) -> Iterator[dict[str, object]]:
    """Log `action.finished` or `action.failed` with the duration and what the body adds.

    Yields:
        A dictionary; what the body puts into it is logged too.
    """
    more: dict[str, object] = dict(fields)
    begun = time.monotonic()
    log = logger()
    log.debug(action + ".started", **fields)
    try:
        yield more
    except StageError as error:
        seconds = round(time.monotonic() - begun, 4)
        log.warning(
            action + ".failed", kind=error.kind, reason=str(error), duration_seconds=seconds, **more
        )
        raise
    else:
        seconds = round(time.monotonic() - begun, 4)
        log.info(action + ".finished", duration_seconds=seconds, **more)
