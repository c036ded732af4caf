"""Display of the demo: cells in lanes on a terminal, plain lines elsewhere, then a table."""

import io
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from asyncbuild.domain.reports.commit_status import StatusState
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.local.board import Board, PushProgress
from asyncbuild.local.verify import Expects, Findings, Pushed

_FRESH_SECONDS = 0.1
_PLAIN_WIDTH = 160
_NO_BREAK = "\N{NO-BREAK SPACE}"
_SIGNS = {"delta": "Δ ", "copy": "= "}
_STATUS_SIGNS = {
    StatusState.PENDING: ("●", "yellow"),
    StatusState.SUCCESS: ("✓", "green"),
    StatusState.FAILURE: ("✗", "red"),
    StatusState.ERROR: ("!", "red"),
}
_COUNTED = tuple(place for place in PushProgress if place.is_end)


@dataclass(frozen=True, slots=True)
class Row:
    """One push and its result, read from the servers."""

    push: Pushed
    size_bytes: int | None = None
    seconds: float | None = None
    build: str | None = None
    way: str = ""  # how its archive was made: full, delta or copy
    result: str | None = None  # how its build ended, in the words of the ledger
    state: StatusState | None = None  # commit status that the forge shows; None without a forge


def open_console(*, as_json: bool) -> Console:
    """Return a console on standard output, or on standard error if output is a JSON document."""
    stream = sys.stderr if as_json else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # for signs that an old terminal does not have
    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


@asynccontextmanager
async def open_progress(console: Console, board: Board) -> AsyncIterator[None]:
    """Show the progress of the pushes while inside."""
    begun = time.monotonic()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_keep_fresh, live, board, begun)
                yield
                tasks.cancel_scope.cancel()
            live.update(draw(board, seconds=time.monotonic() - begun), refresh=True)
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_print_reached, console, board, begun)
            yield
            tasks.cancel_scope.cancel()
        _print_lines(console, board, begun)


async def _keep_fresh(live: Live, board: Board, begun: float) -> None:
    while True:
        live.update(draw(board, seconds=time.monotonic() - begun), refresh=True)
        await anyio.sleep(_FRESH_SECONDS)


async def _print_reached(console: Console, board: Board, begun: float) -> None:
    while True:
        _print_lines(console, board, begun)
        await anyio.sleep(_FRESH_SECONDS)


def _print_lines(console: Console, board: Board, begun: float) -> None:
    for push, place in board.take_reached():
        after = time.monotonic() - begun
        console.print(f"{after:6.1f} s  {escape(str(push))}  {place.word}", soft_wrap=True)


def title_of(repositories: int, pushes: int) -> RenderableType:
    """Return the title: what is about to happen, and with which parts."""
    first = f"{pushes} pushes to {repositories} repositories become builds.\n"
    parts = (
        "git: real. SQS and S3: ministack. CodeBuild: a stand-in that keeps every request, and "
        "whose builds pass or fail. All on 127.0.0.1; nothing is kept."
    )
    text = Text.assemble((first, "bold"), (parts, "bright_black"))
    return Padding(text, (1, 2, 0, 2), expand=False)


def draw(board: Board, *, seconds: float) -> RenderableType:
    """Return one line of cells for each repository, the legend, and the sums."""
    lanes = Table.grid(padding=(0, 2))
    for name, pushes in board.pushes.items():
        places = [board.place_of(push) for push in pushes]
        cells = Text()
        for place in places:
            cells.append(place.sign + " ", style=place.colour)
        done = sum(place.is_end for place in places)
        most = max(board.expected.get(name, 0), len(places))
        lanes.add_row(Text(name, style="bold"), cells, Text(f"{done}/{most}", style="bright_black"))
    legend = Text()
    for place in PushProgress:
        legend.append(place.sign + _NO_BREAK, style=place.colour)
        legend.append(f"{_unbroken(place.word)}  ", style="bright_black")
    counts = board.counts()
    sums = [f"{counts.total()} pushes", *(f"{counts[p]} {p.word}" for p in _COUNTED if counts[p])]
    line = Text(" · ".join(sums)).append(f"   {seconds:.1f} s", style="bright_black")
    return Padding(Group(lanes, Text(), legend, Text(), line), (1, 2), expand=False)


def table_of(rows: Sequence[Row]) -> RenderableType:
    """Return a table of every push, by repository, in the order pushed.

    A build has the sign of its result before its id, or `?`; the commit is followed by
    the sign of the status that its forge shows.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bright_black")
    table.add_column("repository", style="bold", no_wrap=True)
    table.add_column("ref", no_wrap=True)
    table.add_column("commit", no_wrap=True)
    table.add_column("archive", justify="right", no_wrap=True)
    table.add_column("to build", justify="right", no_wrap=True)
    table.add_column("build", overflow="ellipsis")  # shortened where the screen is narrow
    last = None
    for row in rows:
        push = row.push
        table.add_row(
            push.repository if push.repository != last else "",
            escape(push.ref.removeprefix("refs/heads/").removeprefix("refs/")),
            _commit_of(row),
            _SIGNS.get(row.way, "") + decimal(row.size_bytes) if row.size_bytes is not None else "",
            f"{row.seconds:.2f} s" if row.seconds is not None else "",
            _build_of(row),
        )
        last = push.repository
    return Padding(table, (1, 2), expand=False)


def ways_of(rows: Sequence[Row]) -> RenderableType:
    """Return the number of archives made in each way, with the table's signs."""
    counts = Counter(row.way for row in rows)
    told = [f"{counts['full']} archives made again"]
    told += [f"{counts['delta']} of an older one ({_SIGNS['delta'].strip()})"]
    told += [f"{counts['copy']} copied whole ({_SIGNS['copy'].strip()})"]
    return Padding(Text(", ".join(told) + ".", style="bright_black"), (0, 2, 1, 2), expand=False)


def _commit_of(row: Row) -> Text:
    commit = Text((row.push.commit or "deleted")[:10])
    return commit.append(" ").append(*_STATUS_SIGNS[row.state]) if row.state else commit


def _build_of(row: Row) -> Text:
    if row.build is None:
        return _without_build(row)
    if row.result is None:
        sign, style = "?", "bold red"
    else:
        place = PushProgress.PASSED if row.result == BuildStatus.SUCCEEDED else PushProgress.FAILED
        sign, style = place.sign, place.colour
    return Text.assemble((f"{sign} ", style), row.build, no_wrap=True, overflow="ellipsis")


def _without_build(row: Row) -> Text:
    if row.push.expects is Expects.NOTHING:
        return Text(_unbroken(PushProgress.NOTHING.word), style="bright_black")
    if row.push.expects is Expects.UPLOAD and row.size_bytes is not None:
        return Text(_unbroken(PushProgress.UPLOADED.word), style=PushProgress.UPLOADED.colour)
    return Text("missing", style="bold red")


def _unbroken(words: str) -> str:
    return words.replace(" ", _NO_BREAK)


def results_of(rows: Sequence[Row]) -> RenderableType:
    """Return how many builds passed and failed, and of which repositories those are."""
    results = [row for row in rows if row.result is not None]
    passed = sum(row.result == BuildStatus.SUCCEEDED for row in results)
    failed = Counter(row.push.repository for row in results if row.result != BuildStatus.SUCCEEDED)
    where = ", ".join(f"{count} of {name}" for name, count in failed.most_common())
    text = Text.assemble(
        (f"{PushProgress.PASSED.sign} ", PushProgress.PASSED.colour),
        (f"{passed} builds passed", "bold"),
    )
    if failed:
        text.append(f"   {PushProgress.FAILED.sign} ", style=PushProgress.FAILED.colour)
        text.append(f"{failed.total()} failed", style="bold").append(f": {where}")
    states = Counter(row.state for row in rows if row.state is not None)
    if states:
        shown = ", ".join(f"{_STATUS_SIGNS[each][0]} {states[each]} {each}" for each in states)
        text.append(f".\n  Behind a commit is the status that its forge shows: {shown}")
    text.append(
        ".\n  Each end is in the ledger, beside the record of its push, as CodeBuild tells it."
    )
    return Padding(text, (0, 2, 1, 2), expand=False)


def losses_of(lost: int, found: int) -> RenderableType:
    """Return how many events were dropped, and how many of their pushes were found.

    Args:
        lost: Number of dropped events.
        found: Number of pushes that the round found.
    """
    text = Text.assemble(
        (f"{lost} events were dropped", "bold"),
        ", and a round over all repositories found ",
        (f"{found} of their pushes", "bold"),
        " by comparing branches: they were built, too.",
    )
    return Padding(text, (0, 2, 1, 2), expand=False)


def verdict_of(
    findings: Findings, faults: Sequence[str], warnings: Sequence[str]
) -> RenderableType:
    """Return the servers' verdict: all is well, or every fault; then the service's warnings."""
    rest = findings.pushes - findings.built - findings.uploaded - len(findings.missing)
    sums = (
        f"{findings.pushes} pushes: {findings.built} started, "
        f"{findings.uploaded} uploaded only, {rest} with nothing to build."
    )
    if faults:
        text = Text.assemble(("✗ ", "bold red"), (sums, "bold"))
        text.append("".join(f"\n  {fault}" for fault in faults), style="red")
    else:
        proof = "Each once and in order, and every archive holds exactly what its commit does."
        source = "Read back from CodeBuild's and S3's side; compared with git, by zipfile."
        text = Text.assemble(("✓ ", "bold green"), (sums, "bold"), f"\n  {proof}\n  {source}")
    for warning in warnings:
        text.append(f"\n  warning: {warning}", style="yellow")
    return Padding(text, (0, 2, 1, 2), expand=False)
