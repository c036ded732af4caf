"""Layout on a terminal: whole lines, numbers before names, and a way to quit."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from support.status import HOSTILE, NOW, Clock, built, held, line, state, survey

from asyncbuild.status.history import Chronicle
from asyncbuild.status.phrases import gist
from asyncbuild.status.schema import Depth, Status
from asyncbuild.status.screen import draw

_NAMES = st.sampled_from(
    [
        "web",
        "infrastructure-live-eu-west-1-production",
        "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 30,
        HOSTILE,
    ]
)
_REASON = (
    "fetch https://git.example.com/web: git exited with 128: fatal: unable to access "
    "'https://git.example.com/web/': Failed to connect to git.example.com port 443 after 4 ms: "
    "Couldn't connect to server (if it lasts, check git.remote and the way to the server)"
)


def _status(names: list[str], *, pushes: int, away: bool, dead: int) -> Status:
    clock = Clock()
    chronicle = Chronicle(clock)
    chronicle.hear(line("queue.polled", messages=0, groups=0))
    for number in range(pushes):
        chronicle.hear(built(event_id=f"b{number}", repository=names[0], since_push_seconds=4_000))
    for number in range(dead):
        letter = {"message_id": "m", "kind": "reject", "reason": _REASON, "attempts": 2}
        chronicle.hear(line("push.dead-lettered", "error", event_id=f"d{number}", **letter))
    lanes = {
        f"{index} {name}": tuple(
            held(
                f"{index}-{number}",
                repository=name,
                ref=f"refs/heads/{name}/{number}",
                reason=_REASON if away else "",
                sent=NOW - 11_000 * number,
            )
            for number in range(pushes)
        )
        for index, name in enumerate(names)
    }
    if away:
        failed = {"kind": "outage", "peer": "git", "reason": _REASON}
        chronicle.hear(line("push.prepare.failed", "warning", event_id="0-0", **failed))
    look = survey(chronicle, clock, shown=state(lanes))
    look.sampled.depth = Depth(123, 45, dead, NOW)
    return look.take()


def _drawn(status: Status, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=False, record=True)
    console.print(draw(status, lines=height, width=width))
    return console.export_text().splitlines()


@given(
    st.lists(_NAMES, min_size=1, max_size=12),
    st.integers(0, 9),
    st.sampled_from(["all is well", "away"]),
    st.integers(0, 9),
    st.sampled_from([(80, 24), (80, 25), (100, 30), (200, 60)]),
)
def test_the_view_fits_the_terminal(
    names: list[str],
    pushes: int,
    others: str,
    dead: int,
    size: tuple[int, int],
) -> None:
    """No more lines than there are, none wider, none wrapped; every age is whole."""
    lines = _drawn(_status(names, pushes=pushes, away=others == "away", dead=dead), *size)
    assert len(lines) <= size[1]
    assert all(cell_len(each) <= size[0] for each in lines)
    captions = [each for each in lines if "in flight" in each and "consumers" in each]
    assert len(captions) == 1
    if pushes:
        title = next(i for i, each in enumerate(lines) if "what happens" in each)
        first = lines[title + 1]
        assert first.rstrip().endswith(("0 s", "more"))


def test_captions_and_columns_at_80_by_24() -> None:
    """The view during an outage: the unreachable peer, waiting pushes and their ages."""
    lines = _drawn(_status(["web", "api"], pushes=3, away=True, dead=1), 80, 24)
    text = "\n".join(lines)
    assert "● outage: git, 0 s" in lines[0]
    assert lines[0].rstrip().endswith("q quits")
    assert "1 push of 1 repository waits: Failed to connect to git.example.com" in text
    assert "waiting  in flight  consumers  oldest  started  dead letters  builds in 5 min" in text
    assert "paused: Failed to connect" in text
    assert {"0 s", "3 h", "6 h"} <= {each[-7:].strip() for each in lines}
    assert sum("started " in each for each in lines) >= 3  # settled ones have room, too


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (
            _REASON,
            "Failed to connect to git.example.com port 443 after 4 ms: Couldn't connect to server",
        ),
        (
            "start: AccountLimitExceededException: Cannot have more than 1 builds in the queue",
            "Cannot have more than 1 builds in the queue",
        ),
        (
            "CodeBuild project web does not exist in this account (create it)",
            "CodeBuild project web does not exist in this account",
        ),
        ("put s3://b/k: InternalError", "put s3://b/k: InternalError"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_the_short_form_of_a_reason(reason: str, says: str) -> None:
    """The cause, without the attempt and the remedy."""
    assert gist(reason) == says


@contextmanager
def _terminal(*command: str) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """Run a command on a terminal of 80 by 24; yield our end of it and the process."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    try:
        yield ours, process
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


_SERVE = """
import sys, tempfile, anyio
from functools import partial
from pathlib import Path
from support.status import state
from asyncbuild.runtime import log as logs
from asyncbuild.runtime.emit import subscribed
from asyncbuild.config import GitSettings, Settings, StatusSettings
from asyncbuild.status import top
from asyncbuild.status.server import Sources, open_status

async def depth():
    return 1, 2, 3

async def credentials():
    return "found"

async def main():
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(
            git=GitSettings(cache_directory=Path(directory)),
            status=StatusSettings(listen="127.0.0.1:0"),
        )
        addresses = []
        logs.mute()
        hear = lambda told: addresses.append(getattr(told.event, "address", None))
        with subscribed(hear):
            async with open_status(settings, Sources(state, depth, credentials)):
                await top.run(addresses[0], every_seconds=0.1, once=False)

anyio.run(main)
"""


def test_q_ends_the_view() -> None:
    """The exit code is 0, and the terminal is restored."""
    with _terminal(sys.executable, "-c", f"import sys; sys.path.append('tests')\n{_SERVE}") as (
        ours,
        process,
    ):
        before = termios.tcgetattr(ours)
        _read_until(ours, process, b"nothing in flight")
        assert not termios.tcgetattr(ours)[3] & termios.ICANON
        os.write(ours, b"xq")
        _read_until(ours, process, b"\x1b[?1049l")  # the previous screen is restored
        assert process.wait() == 0
        assert termios.tcgetattr(ours) == before


def _read_until(ours: int, process: "subprocess.Popen[bytes]", wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        ended = process.poll() is not None
        if select.select([ours], [], [], 0.2)[0]:
            seen += os.read(ours, 4_096)
        else:
            assert not ended, seen
