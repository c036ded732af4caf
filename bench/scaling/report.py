"""Tables and pictures of the runs.

docs/scaling.md is written by people; only what stands between its two marks is replaced.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib as mpl
from load import Scenario
from matplotlib import pyplot as plt
from simulate import Result

BEGIN = "<!-- bench/scaling writes from here -->"
END = "<!-- to here -->"
Runs = Mapping[tuple[str, float], Result]

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "scaling", "svg.fonttype": "none", "font.size": 9})


def rival(runs: Runs, default: float) -> tuple[float, Result] | None:
    """Return the cheapest depth policy with a p95 at most the busy policy's, or None."""
    bar = runs["busy", default].wait(95)
    fit = [
        (run.task_seconds, target, run)
        for (kind, target), run in runs.items()
        if kind == "depth" and run.wait(95) <= max(bar, 1.0)
    ]
    if not fit:
        return None
    _, target, run = min(fit, key=lambda each: each[:2])
    return target, run


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _row(name: str, run: Result, best: float) -> str:
    hours = run.task_seconds / 3_600
    cells = [
        name,
        *(_seconds(run.wait(percent)) for percent in (50, 95, 99)),
        f"{hours:.1f}",
        f"{hours / best:.2f}",
        f"{run.peak_tasks:.0f}",
        f"{100 * run.idle_seconds / run.task_seconds:.0f} %",
    ]
    return f"| {' | '.join(cells)} |"


def _table(scenario: Scenario, runs: Runs, default: float) -> Iterable[str]:
    chosen = runs["busy", default]
    best = chosen.task_seconds / 3_600
    yield f"### {scenario.title}"
    yield ""
    yield f"{len(chosen.waits):,} pushes in {scenario.hours:g} hours."
    yield ""
    yield f"![Tasks over time](img/scaling-{scenario.name}.svg)"
    yield ""
    yield "| policy | wait p50 s | p95 s | p99 s | task hours | ratio | most tasks | unusable |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for (kind, target), run in runs.items():
        name = f"depth, {target:g} a task" if kind == "depth" else f"busy, {target:g} %"
        yield _row(f"**{name}**" if run is chosen else name, run, best)
    yield ""
    found = rival(runs, default)
    if found is None:
        yield (
            f"No depth target tried reaches the busy policy's p95 of {_seconds(chosen.wait(95))} s."
        )
    else:
        target, run = found
        yield (
            f"At a p95 no worse ({_seconds(run.wait(95))} s against "
            f"{_seconds(chosen.wait(95))} s) the cheapest depth policy ({target:g} a task) needs "
            f"{run.task_seconds / chosen.task_seconds:.2f} times the task hours."
        )
    yield ""


def write_tables(results: Mapping[Scenario, Runs], default: float, path: Path) -> str:
    """Replace the tables in `path`; return the text written."""
    lines = [line for scenario, runs in results.items() for line in _table(scenario, runs, default)]
    text = "\n".join(lines)
    old = path.read_text() if path.exists() else f"{BEGIN}\n{END}\n"
    head, rest = old.split(BEGIN)
    tail = rest.split(END)[1]
    path.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}")
    return text + "\n"


def plot(runs: Runs, default: float, path: Path) -> None:
    """Plot tasks over time: both policies, and the number that the work could use."""
    found = rival(runs, default)
    target, depth = found or min(
        ((target, run) for (kind, target), run in runs.items() if kind == "depth"),
        key=lambda each: each[1].wait(95),
    )
    chosen = runs["busy", default]
    figure, axes = plt.subplots(2, 1, figsize=(8, 4.2), sharex=True, height_ratios=(3, 2))
    for run, label, colour in (
        (depth, f"depth, {target:g} a task", "#c2571a"),
        (chosen, f"busy, {default:g} %", "#1a66c2"),
    ):
        hours = [minute.at / 3_600 for minute in run.minutes]
        axes[0].step(
            hours, [minute.seen.tasks for minute in run.minutes], label=label, color=colour
        )
        axes[1].plot(hours, [minute.seen.visible for minute in run.minutes], color=colour)
    hours = [minute.at / 3_600 for minute in chosen.minutes]
    axes[0].fill_between(
        hours,
        [minute.useful for minute in chosen.minutes],
        color="#bbbbbb",
        alpha=0.6,
        step="pre",
        label="what the work there is can use",
        linewidth=0,
    )
    axes[0].set_ylabel("tasks")
    axes[0].legend(loc="upper left", frameon=False)
    axes[1].set_ylabel("messages waiting")
    axes[1].set_xlabel("hours")
    for each in axes:
        each.set_ylim(bottom=0)
        each.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
