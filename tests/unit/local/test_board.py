"""The demo's board: where each push is, on a terminal and in plain lines."""

import io
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from rich.console import Console
from support.status import built, ended, line

from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.local.board import Board, PushProgress
from asyncbuild.local.display import (
    Row,
    draw,
    open_progress,
    results_of,
    table_of,
    verdict_of,
    ways_of,
)
from asyncbuild.local.verify import Expects, Findings, Pushed

PUSH = Pushed(
    id="e1",
    group="g",
    repository="shop",
    ref="refs/heads/feature/[x]",
    commit="0123456789" * 4,
    directory=Path("/nowhere"),
    time=0.0,
)


def console(*, terminal: bool = False, width: int = 80) -> Console:
    """A console that writes to memory."""
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=width, highlight=False, color_system=None
    )


def written(to: Console) -> str:
    """Return the text written to the console."""
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def board_with(*events: str) -> Board:
    """Return a board that has received these events of one push."""
    board = Board({"shop": 3})
    board.add(PUSH)
    for event in events:
        board.hear(line(event, event_id=PUSH.id))
    return board


@pytest.mark.parametrize(
    ("events", "place"),
    [
        ([], PushProgress.PUSHED),
        (["push.prepare.started"], PushProgress.FETCHING),
        (["push.prepare.started", "push.upload.started"], PushProgress.ARCHIVING),
        (["push.upload.started", "push.prepare.finished"], PushProgress.ARCHIVED),
        (["push.prepare.finished", "push.built"], PushProgress.STARTED),
        (["push.uploaded"], PushProgress.UPLOADED),
        (["push.nothing-to-do"], PushProgress.NOTHING),
        (["push.dead-lettered"], PushProgress.DEAD_LETTERED),
        (["push.built", "push.prepare.started"], PushProgress.STARTED),
        (["service.stopped"], PushProgress.PUSHED),
    ],
)
def test_a_push_is_where_the_log_says(events: list[str], place: PushProgress) -> None:
    """Each line moves it on; after its end it stays."""
    assert board_with(*events).place_of(PUSH) is place


@pytest.mark.parametrize(
    ("status", "place"),
    [
        (BuildStatus.IN_PROGRESS, PushProgress.STARTED),
        (BuildStatus.SUCCEEDED, PushProgress.PASSED),
        (BuildStatus.FAILED, PushProgress.FAILED),
        (BuildStatus.FAULT, PushProgress.FAILED),
        (BuildStatus.TIMED_OUT, PushProgress.FAILED),
        (BuildStatus.STOPPED, PushProgress.FAILED),
    ],
)
def test_a_started_build_passes_or_fails(status: BuildStatus, place: PushProgress) -> None:
    """Its end moves a push that was settled; a state without an end does not."""
    board = board_with("push.built")
    board.hear(ended(status, event_id=PUSH.id))
    assert board.place_of(PUSH) is place


def test_a_result_is_not_overtaken_by_its_start() -> None:
    """A build may end before its start was told."""
    board = board_with()
    board.hear(ended(event_id=PUSH.id))
    board.hear(built(event_id=PUSH.id))
    assert board.place_of(PUSH) is PushProgress.PASSED


def test_lines_about_unknown_pushes_are_ignored() -> None:
    """The service may log pushes that the demo did not make, or none at all."""
    board = board_with()
    board.hear(built(event_id="another"))
    board.hear(line("service.started"))
    assert board.counts() == {PushProgress.PUSHED: 1}


def test_a_limited_number_of_warnings_is_kept() -> None:
    """The first twenty are printed at the end."""
    board = board_with()
    for number in range(30):
        board.hear(line("lease.lost", reason=f"reason {number}"))
    assert len(board.warnings) == 20
    assert board.warnings[0] == "lease.lost: reason 0"


def test_ends_are_printed_once() -> None:
    """One plain line for each push that is settled, and one for the end of its build."""
    board = board_with("push.built")
    assert board.take_reached() == [(PUSH, PushProgress.STARTED)]
    for _ in range(2):
        board.hear(ended(event_id=PUSH.id))
    assert board.take_reached() == [(PUSH, PushProgress.PASSED)]
    assert board.take_reached() == []


def test_the_picture_has_a_cell_for_each_push() -> None:
    """A lane says how many are done of how many; the legend is whole on 80 columns."""
    screen = console(terminal=True)
    screen.print(draw(board_with("push.built"), seconds=1.5))
    picture = written(screen)
    assert ["shop", "█", "1/3"] in [line.split() for line in picture.splitlines()]
    assert all(place.word.split()[0] in picture for place in PushProgress)
    assert "1 pushes · 1 started   1.5 s" in picture


@pytest.mark.parametrize("terminal", [True, False])
async def test_progress_is_shown_while_it_happens(terminal: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """On a terminal cells change, elsewhere a line appears; at the end nothing is missing."""
    screen, board = console(terminal=terminal), board_with()
    async with open_progress(screen, board):
        await anyio.lowlevel.checkpoint()
        board.hear(built(event_id=PUSH.id))
    said = written(screen)
    if terminal:
        assert "█" in said
    else:
        assert f"{PUSH}  started" in said
        assert said.count("\n") == 1


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_is_readable_on_a_narrow_screen(width: int) -> None:
    """Names are whole; the build's id gives way, and one row is one line."""
    screen = console(width=width)
    upload = replace(PUSH, expects=Expects.UPLOAD)
    rows = [
        Row(PUSH, 1_500_000, 0.5, "shop:00000000-0000-4000-8000-000000000001"),
        Row(upload, 1_000, way="delta"),
        Row(replace(PUSH, expects=Expects.NOTHING, commit=None)),
        Row(upload),
        Row(PUSH, 1_000),
    ]
    screen.print(table_of(rows))
    lines = [line.strip() for line in written(screen).splitlines() if line.strip()]
    assert len(lines) == 1 + len(rows)
    assert "feature/[x]" in lines[1]
    assert "0123456789" in lines[1]
    assert "Δ 1.0 kB" in lines[2]
    screen.print(ways_of(rows))
    assert "1 of an older one (Δ)" in written(screen)
    ends = [line.split("  ")[-1].strip() for line in lines[2:]]
    assert ends == ["uploaded\xa0only", "nothing\xa0to\xa0build", "missing", "missing"]


def test_the_verdict_names_every_fault() -> None:
    """All well in three lines; otherwise each fault, and what the service warned of."""
    screen = console()
    screen.print(verdict_of(Findings(pushes=3, built=2, uploaded=1), [], []))
    assert "✓ 3 pushes: 2 started, 1 uploaded only, 0 with nothing to build." in written(screen)
    screen = console()
    findings = Findings(pushes=2, built=1, missing=["a: no build"], wrong_content=["b: other"])
    faults = [*findings.faults, "c: no result"]
    screen.print(verdict_of(findings, faults, ["lease.lost"]))
    said = written(screen)
    assert "✗ 2 pushes" in said
    assert all(each in said for each in (*faults, "warning: lease.lost"))


def test_the_last_line_says_what_passed_and_what_failed() -> None:
    """With the repositories of the failed ones, most first; none failed: no word of it."""
    rows = [
        Row(PUSH, build="b", result="succeeded"),
        Row(replace(PUSH, repository="till"), build="b", result="timed-out"),
        Row(PUSH, build="b", result="failed"),
        Row(PUSH, build="b", result="failed"),
        Row(PUSH, build="b"),
    ]
    screen = console()
    screen.print(results_of(rows))
    assert "✓ 1 builds passed   ✗ 3 failed: 2 of shop, 1 of till." in written(screen)
    screen = console()
    screen.print(results_of(rows[:1]))
    assert "failed" not in written(screen)


def test_the_table_has_the_result_of_each_build() -> None:
    """A sign before its id; a build without one stands out."""
    ends = ["succeeded", "failed", "timed-out", None]
    screen = console()
    screen.print(table_of([Row(PUSH, build="shop:1", result=end) for end in ends]))
    lines = [line.split() for line in written(screen).splitlines() if "shop:1" in line]
    assert [line[-2:] for line in lines] == [
        ["✓", "shop:1"], ["✗", "shop:1"], ["✗", "shop:1"], ["?", "shop:1"],
    ]  # fmt: skip


def test_the_address_of_the_page_is_read_from_the_log() -> None:
    """The status page has an address once it is served."""
    board = board_with()
    assert board.page == ""
    board.hear(line("status.listening", address="http://127.0.0.1:1/"))
    assert board.page == "http://127.0.0.1:1/"
