"""Each message of a process on standard error is one line of JSON."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

_BEGIN = """
import asyncio, logging, sys, threading, warnings
from asyncbuild.commands.{set_up} as set_up
from asyncbuild.config import LogSettings
from asyncbuild.domain.events.service_events import ServiceStopped
from asyncbuild.runtime.emit import emit

set_up(LogSettings(format="json", level={level!r}))
"""
_AT_ONCE = "log_setup import configure"
_LATE = "late_log import configure_late"


def _said(script: str, *, level: str = "info", set_up: str = _AT_ONCE) -> list[dict[str, Any]]:
    """Return the log lines of a process that runs `script`."""
    code = _BEGIN.format(level=level, set_up=set_up) + script
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.stdout == b""
    return [orjson.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(
    ("script", "logger", "reason"),
    [
        ("logging.getLogger('botocore.hooks').warning('odd: %d', 3)", "botocore.hooks", "odd: 3"),
        ("warnings.warn('old way', UserWarning)", "py.warnings", "UserWarning: old way"),
        (
            "loop = asyncio.new_event_loop(); loop.call_soon(lambda: 1 / 0)\n"  # noqa: ISC004 - one script
            "loop.call_soon(loop.stop); loop.run_forever(); loop.close()",
            "asyncio",
            "Exception in callback",
        ),
        (
            "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()",
            "python",
            "uncaught: ZeroDivisionError",
        ),
        ("class A:\n  def __del__(self): 1 / 0\nA()", "python", "A.__del__"),
        ("1 / 0", "python", "uncaught: ZeroDivisionError"),
    ],
    ids=["library", "warning", "loop", "thread", "unraisable", "uncaught"],
)
@pytest.mark.parametrize("set_up", [_AT_ONCE, _LATE], ids=["at-once", "late"])
def test_library_messages_are_lines_like_ours(
    script: str, logger: str, reason: str, set_up: str
) -> None:
    """Level, time and the logger's name are there; a traceback is a field of the same line."""
    (line,) = _said(script, set_up=set_up)
    assert (line["event"], line["logger"]) == ("library.logged", logger)
    assert line["level"] in {"warning", "error"}
    assert reason in line["reason"]
    assert line["timestamp"].endswith("Z")
    assert ("ZeroDivisionError" in line.get("exception", "")) == ("1 / 0" in script)


def test_library_messages_below_a_warning_are_dropped() -> None:
    """Debugging does not change that: botocore's own lines contain signatures (I10)."""
    said = _said("logging.getLogger('botocore.auth').info('Signature: x')", level="debug")
    assert said == []


def test_library_messages_name_their_push() -> None:
    """Values bound around a call are in its library's lines, too."""
    (line,) = _said(
        "import structlog\n"
        "with structlog.contextvars.bound_contextvars(event_id='e'):\n"
        "    logging.getLogger('aiohttp').error('cut')"
    )
    assert (line["event_id"], line["level"], line["reason"]) == ("e", "error", "cut")


@pytest.mark.parametrize("level", ["info", "error"])
def test_a_late_log_writes_from_the_level_of_the_settings_on(level: str) -> None:
    """The first line sets it up, whether it is an event's or a library's, and is not lost."""
    lines = _said(
        "emit(ServiceStopped()); logging.getLogger('aiohttp').warning('odd')\n"
        "logging.getLogger('aiohttp').error('cut')",
        level=level,
        set_up=_LATE,
    )
    said = [line.get("reason", line["event"]) for line in lines]
    assert said == (["service.stopped", "odd", "cut"] if level == "info" else ["cut"])


def test_an_unwritable_log_stops_nothing() -> None:
    """Its lines are lost; the caller that logs them goes on."""
    code = _BEGIN.format(level="info", set_up=_AT_ONCE) + "emit(ServiceStopped()); print('went on')"
    with Path("/dev/full").open("ab") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert done.stdout == b"went on\n"


def test_listeners_hear_all_events_whatever_structlog_is_configured_to() -> None:
    """A listener receives the lines all the same; with the default set-up it would receive none."""
    script = """
import structlog
from asyncbuild.domain.events.service_events import ServiceStopped
from asyncbuild.runtime.emit import emit, subscribed

structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
lines = []
with subscribed(lambda told: lines.append(told.event.name)):
    emit(ServiceStopped())
print(lines)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"['service.stopped']\n"


@pytest.mark.parametrize("shape", ["json", "console"])
def test_the_kind_of_an_error_is_logged_as_its_word(shape: str) -> None:
    """Its type in Python does not matter."""
    script = f"""
from asyncbuild.config import LogSettings
from asyncbuild.domain.errors import Busy
from asyncbuild.domain.events.stage_events import PushFetchStarted
from asyncbuild.domain.events.service_events import SecretNotRenewed
from asyncbuild.commands import log_setup
from asyncbuild.runtime.emit import emit, stage

log_setup.configure(LogSettings(format={shape!r}))
try:
    with stage(PushFetchStarted()):
        raise Busy("full")
except Busy as error:
    emit(SecretNotRenewed(kind=error.kind, reason=""))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    said = done.stderr.decode()
    assert "Kind" not in said
    assert said.count('"kind":"busy"' if shape == "json" else "kind=busy") == 2
