"""Status as a terminal shows it: whole lines only, as many as the terminal has.

Nothing wraps: a terminal of 80 columns and 24 lines is enough, and names are cut before numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from asyncbuild.domain.foreign_text import plain
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.status import phrases as wording
from asyncbuild.status.results import words as ending
from asyncbuild.status.schema import (
    STARTED,
    DeadLetterStatus,
    HeldPush,
    SettledPush,
    Status,
)

_TONES: Final = {"idle": "bright_black", "busy": "yellow", "ready": "cyan", "bad": "bold red"}
_STATES: Final = {"ready": "green", "not-ready": "bold red"}
_VERDICTS: Final = {"built": "green", "handed-over": "green", "uploaded": "blue"}
_RESULTS: Final = {
    "passed": "green",
    "failed": "bold red",
    "stopped": "bright_black",
    "unended": "yellow",
}
_STEPS: Final = " ▁▂▃▄▅▆▇█"
_GAP: Final = 2
_SPARK: Final = 20
_BOTTOM_MOST: Final = 3  # dead letters, and warnings
_OTHERS_MOST: Final = 3
_LEAST_LINES: Final = 12


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of so many cells; names are cut at their ends, numbers are aligned at the right."""

    title: str
    width: int
    right: bool = False


def draw(status: Status, *, lines: int, width: int = 80, fault: str = "") -> RenderableType:
    """Return as much as fits into so many lines of that width, the most urgent first.

    Args:
        status: Status to show.
        lines: Lines of the terminal.
        width: Width of the terminal, in cells.
        fault: Why this is not the newest status; empty if it is.
    """
    width -= 2  # a blank at each side
    held = sum(len(lane.pushes) for lane in status.lanes)
    bottom = _bottom(status)
    head = [*_head(status, width, fault), Text(), *_figures(status, held, width), Text()]
    room = max(_LEAST_LINES, lines) - len(head) - len(bottom) - 3 - bool(bottom)
    lanes = min(held, max(2, room * 2 // 3))
    parts = [*head, *_lanes(status, lanes, width), Text()]
    parts += _recent(status, max(1, room - lanes), width)
    if bottom:
        parts += [Text(), *bottom]
    for line in parts:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return Padding(Group(*parts), (0, 1))


def _head(status: Status, width: int, fault: str) -> list[Text]:
    service = status.service
    state = Text.assemble(("asyncbuild ", "bold"))
    if fault:
        state.append(plain(f"● {fault}"), style="bold red")
    else:
        style = _STATES.get(status.state, "bold yellow")
        state.append(plain(f"● {wording.state(status)}"), style=style)
    up = f"up {wording.short(status.time - service.started)} · q quits"
    state.truncate(max(0, width - len(up) - 1), overflow="ellipsis")
    state.append(" " * max(1, width - state.cell_len - len(up)) + up, style="bright_black")
    name = service.queue.rpartition("/")[2]
    where = Text(plain(f"{name} → {service.bucket}"), style="bright_black")
    return [state, where, *_others(status)]


def _others(status: Status) -> list[Text]:
    """Return lines about what is not well: own faults, then those of other sides."""
    faults = [f"{each.name}: {each.says}" for each in status.checks if not each.ok]
    away = [
        f"{wording.peer(each)}: "
        + ": ".join(filter(None, (wording.waits(each), wording.gist(each.reason))))
        for each in status.outages
    ]
    return [
        *(Text(plain(line), style="red") for line in faults[:_OTHERS_MOST]),
        *(Text(plain(line), style="yellow") for line in away[:_OTHERS_MOST]),
    ]


def _figures(status: Status, held: int, width: int) -> list[Text]:
    depth, consumers = status.queue, status.consumers
    busy = f"{consumers.total - consumers.free}/{consumers.total}"
    dead = str(depth.dead_letters if depth else len(status.dead_letters))
    started = sum(status.totals.pushes.get(verdict, 0) for verdict in STARTED)
    figures = {
        "waiting": str(depth.waiting) if depth else "-",
        "in flight": str(held),
        **({"busy": busy} if status.results else {"consumers": busy}),
        "oldest": wording.short(status.oldest_waiting_seconds) if held else "-",
        "started": str(started),
        **_ends(status),
        **({"dead": dead} if status.results else {"dead letters": dead}),
    }
    numbers, names = Text(), Text(style="bright_black")
    for name, value in figures.items():
        size = max(len(name), len(value)) + _GAP
        bad = name == "failed" and value != "0"
        numbers.append(value.ljust(size), style="bold red" if bad else "bold")
        names.append(name.ljust(size))
    window = wording.window(status.series.window_seconds)
    bars = min(_SPARK, width - numbers.cell_len)
    numbers.append(_spark([each.built for each in status.series.buckets], bars), style="cyan")
    names.append(f"starts, {window}" if status.results else f"builds in {window}")
    return [numbers, names, *_ends_in_time(status)]


def _ends_in_time(status: Status) -> list[Text]:
    """Return a line with the builds that passed and failed in each span of time."""
    if status.results is None:
        return []
    buckets = status.series.buckets
    line = Text()
    for name, counts, style in (
        ("passed", [each.builds_passed for each in buckets], "green"),
        ("failed", [each.builds_failed for each in buckets], "red"),
    ):
        line.append(f"{name} ", style="bright_black")
        line.append(_spark(counts, _SPARK), style=style)
        line.append("  ")
    return [line]


def _ends(status: Status) -> dict[str, str]:
    """Return how many builds passed and failed; nothing if the service asks for no results."""
    if status.results is None:
        return {}
    known = status.totals.results
    ends = {each: known.get(each.value, 0) for each in BuildStatus}
    return {
        "passed": str(sum(count for each, count in ends.items() if each.is_passed)),
        "failed": str(sum(count for each, count in ends.items() if each.is_failed)),
    }


def _spark(counts: Sequence[int], bars: int) -> str:
    """Return a sparkline: one bar for each span of time, the tallest for the largest sum."""
    size = max(1, -(-len(counts) // max(1, bars)))
    sums = [sum(counts[first : first + size]) for first in range(0, len(counts), size)]
    most, top = max(sums, default=0), len(_STEPS) - 1
    return "".join(_STEPS[-(-each * top // most)] if most else " " for each in sums)


def _lanes(status: Status, rows: int, width: int) -> list[Text]:
    if not status.lanes:
        return [Text("nothing in flight", style="bright_black")]
    names = max(len(wording.name_of(lane)) for lane in status.lanes)
    repository = min(max(names, 10), width // 4)
    branch = width // 4
    rest = width - repository - branch - 6 - 3 * _GAP
    columns = (
        _Column("repository", repository),
        _Column("branch", branch),
        _Column("what happens", rest),
        _Column("age", 6, right=True),
    )
    lines = [_row(columns, [each.title for each in columns], ["bright_black"] * 4)]
    shown, name_of_last = 0, ""
    for lane in status.lanes:
        for push in lane.pushes[: rows - shown]:
            name = wording.name_of(lane)
            age = wording.short(status.time - push.sent) if push.sent else ""
            cells = ["" if name == name_of_last else name, _ref(push, branch), _doing(push), age]
            lines.append(_row(columns, cells, ["", "", _TONES[wording.tone(push)], ""]))
            shown, name_of_last = shown + 1, name
    held = sum(len(lane.pushes) for lane in status.lanes)
    if held > shown:
        lines[-1] = Text(f"and {held - shown + 1} more", style="bright_black")
    return lines


def _doing(push: HeldPush) -> str:
    if push.reason:
        return f"{push.state}: {wording.gist(push.reason)}"
    if push.progress:
        sizes = f"{wording.size(push.progress.tar_bytes)} → {wording.size(push.progress.zip_bytes)}"
        return f"{wording.doing(push)} {sizes}"
    return wording.doing(push)


def _recent(status: Status, rows: int, width: int) -> list[Text]:
    """Return the settled pushes: what was started, and how it ended where that is known."""
    recent = status.recent[:rows]
    ends = status.results is not None
    most = width // 5 if ends else width // 4
    repository = max(min(max([len(each.repository) for each in recent], default=0), most), 10)
    columns = [_Column("settled", repository), _Column("branch", most), _Column("outcome", 11)]
    columns += [_Column("archive", 8, right=True), _Column("to build", 11, right=True)]
    if ends:
        rest = width - repository - most - 8 - 3 * _GAP
        columns[2:] = [_Column("result", rest), _Column("to build", 8, right=True)]
    lines = [_row(columns, [each.title for each in columns], ["bright_black"] * len(columns))]
    for each in recent:
        result = _result(each, status.time) if ends and each.started else ""
        seconds = wording.brief if ends else wording.seconds
        cells = [
            each.repository,
            _ref(each, most),
            result or wording.outcome(each.verdict),
            *([] if ends else [wording.size(each.size_bytes)]),
            seconds(each.since_push_seconds) if each.started else "",
        ]
        tone = _RESULTS[ending.result_tone(each)] if result else _VERDICTS.get(each.verdict)
        lines.append(_row(columns, cells, ["", "", tone or "bright_black"]))
    return lines


def _result(row: SettledPush, now: float) -> str:
    """Return `✗ failed BUILD, exit code 2  3 min 12 s`; the place is cut first."""
    head = f"{ending.result_sign(row)} {ending.result_word(row)}"
    attempt = row.result.attempt if row.result else 1
    tries = f"try {attempt}" if attempt > 1 else ""
    took = ending.result_length(row, now)
    place = ending.result_place(row.result).replace("exit code", "exit")
    return " ".join(filter(None, (head, took, tries, place)))


def _bottom(status: Status) -> list[Text]:
    """Return dead letters and warnings; not those that the head shows already."""
    dead = [
        f"✗ {_name_of(one)}: {wording.gist(one.reason)}"
        for one in status.dead_letters[:_BOTTOM_MOST]
    ]
    past = [
        f"{wording.clock(each.since)} {wording.was(each)}"
        for each in status.past_outages[:_BOTTOM_MOST]
    ]
    told = {each.kind for each in (*status.outages, *status.past_outages)}
    warnings = [
        f"{wording.clock(each.time)} {f'{each.count}x ' if each.count > 1 else ''}{each.event}: "
        f"{wording.gist(each.reason)}"
        for each in status.troubles
        if each.kind not in told
    ]
    return [
        *(Text(plain(line), style="red") for line in dead),
        *(Text(plain(line), style="yellow") for line in (*past, *warnings)[:_BOTTOM_MOST]),
    ]


def _name_of(letter: DeadLetterStatus) -> str:
    if letter.repository is None:
        return f"message {letter.message_id[:13]}"
    return f"{letter.repository} {wording.branch(letter.ref or '')}"


def _ref(each: HeldPush | SettledPush, width: int) -> str:
    """Return the branch, and the commit where there is room for both."""
    name = wording.branch(each.ref)
    both = f"{name} {each.commit[:10]}"
    return both if cell_len(both) <= width else name


def _row(columns: Sequence[_Column], cells: Sequence[str], styles: Sequence[str]) -> Text:
    line = Text()
    for index, column in enumerate(columns):
        cell = _fit(plain(cells[index]), column.width)
        blanks = " " * (column.width - cell_len(cell))
        style = styles[index] if index < len(styles) else ""
        line.append(" " * _GAP if index else "")
        line.append(blanks + cell if column.right else cell + blanks, style=style)
    return line


def _fit(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
