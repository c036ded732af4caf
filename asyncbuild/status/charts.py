"""Small bar charts as SVG, of numbers and fixed words only: nothing has to be escaped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Final

from markupsafe import Markup

from asyncbuild.status.phrases import clock, seconds, size
from asyncbuild.status.schema import Series, SeriesPoint, SettledPush

_HEIGHT: Final = 60.0
_STEP: Final = 5.0  # of a bar and the gap beside it
_BAR: Final = 4.0
_LEAST: Final = 1.5  # so that a small value can be told from zero
_STRIP_WIDTH: Final = 120.0


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart, the value of its highest line, and its meaning in words."""

    title: str
    svg: Markup
    most: str
    sums: str


def plots_of(series: Series, *, results: bool = False) -> tuple[Plot, ...]:
    """Return the charts: builds, how they ended, seconds from push to build, bytes sent.

    Args:
        series: Counts to draw.
        results: Whether it is known how builds end.
    """
    buckets = series.buckets
    built = sum(each.built for each in buckets)
    failed = sum(each.failed for each in buckets)
    sent = sum(each.sent_bytes for each in buckets)
    slowest = max((each.slowest_seconds or 0.0 for each in buckets), default=0.0)
    builds = _Words(
        title="Builds started",
        says=[f"{each.built} started, {_tries(each.failed)}" for each in buckets],
        most=lambda value: f"{value:g}",
        sums=f"{built} started" + (f", {_tries(failed)}" if failed else ""),
    )
    durations = _Words(
        title="Push to build",
        says=[
            f"median {seconds(each.median_seconds)}, slowest {seconds(each.slowest_seconds)}"
            for each in buckets
        ],
        most=seconds,
        sums=f"median dark, slowest light: {seconds(slowest)}" if slowest else "no build yet",
    )
    sizes = _Words(
        title="Sent to S3",
        says=[size(each.sent_bytes) for each in buckets],
        most=lambda value: size(int(value)),
        sums=size(sent),
    )
    layers = [
        ("b", [each.slowest_seconds or 0.0 for each in buckets]),
        ("a", [each.median_seconds or 0.0 for each in buckets]),
    ]
    return (
        _plot(builds, buckets, [("a", [float(each.built) for each in buckets])]),
        *([_plot_of_ends(buckets)] if results else []),
        _plot(durations, buckets, layers),
        _plot(sizes, buckets, [("a", [float(each.sent_bytes) for each in buckets])]),
    )


def _plot_of_ends(buckets: Sequence[SeriesPoint]) -> Plot:
    """Return the chart of ends: passed ones upwards, failed ones downwards from one line."""
    ends = [(each.builds_passed, each.builds_failed) for each in buckets]
    up = _round_up(max((passed for passed, _ in ends), default=0))
    down = _round_up(max((failed for _, failed in ends), default=0))
    unit = _HEIGHT / (up + down) if up + down else 0.0
    base = up * unit
    bars, hovers = list[str](), list[str]()
    for number, (passed, failed) in enumerate(ends):
        x = number * _STEP
        if passed:
            height = max(_LEAST, passed * unit)
            bars.append(_rect("good", x, base - height, _BAR, height))
        if failed:
            bars.append(_rect("bad", x, base, _BAR, max(_LEAST, failed * unit)))
        if passed or failed:
            hovers.append(_hover(buckets[number], x, f"{passed} passed, {failed} failed"))
    line = _rect("base", 0.0, base, len(buckets) * _STEP, 0.6) if down else ""
    passed, failed = (sum(each) for each in zip(*ends, strict=True)) if ends else (0, 0)
    sums = f"up: {passed} passed, down: {failed} failed"
    title = "Builds ended"
    inside = "".join([line, *bars, *hovers])
    svg = _svg("plot", len(buckets) * _STEP, _HEIGHT, f"{title}: {sums}", inside)
    return Plot(title, svg, f"{up:g}" if up else "", sums)


def _hover(bucket: SeriesPoint, x: float, says: str) -> str:
    title = f"<title>{clock(bucket.begin)} UTC: {says}</title>"
    return f"<g>{title}{_rect('hover', x, 0.0, _STEP, _HEIGHT)}</g>"


def _tries(failed: int) -> str:
    return f"{failed} failed {'try' if failed == 1 else 'tries'}"


def strip_of(settled: SettledPush, longest_seconds: float) -> Markup:
    """Return one push's seconds as a strip, from left to right: waiting, fetch, archive, start."""
    total = settled.since_push_seconds
    if not total or longest_seconds <= 0:
        return Markup()
    known = [(name, settled.stages.get(name, 0.0)) for name in ("fetch", "archive", "start")]
    parts = [("wait", max(0.0, total - sum(value for _, value in known))), *known]
    scale = _STRIP_WIDTH / longest_seconds
    begin, bars = 0.0, list[str]()
    for name, value in parts:
        width = min(value * scale, _STRIP_WIDTH - begin)
        if width > 0:
            bars.append(_rect(name, begin, 0.0, width, 8.0))
            begin += width
    words = ", ".join(f"{name} {seconds(value)}" for name, value in parts if value)
    return _svg("strip", _STRIP_WIDTH, 8.0, words, f"<title>{words}</title>{''.join(bars)}")


def meter_of(part: float, whole: float) -> Markup:
    """Return a bar for the used share of `whole`."""
    share = min(1.0, part / whole) if whole > 0 else 0.0
    bar = _rect("full" if share > 0.9 else "used", 0.0, 0.0, 100 * share, 6.0)  # noqa: PLR2004 - nearly full
    return _svg("meter", 100.0, 6.0, f"{share:.0%} used", bar)


@dataclass(frozen=True, slots=True)
class _Words:
    """Words of a plot.

    Attributes:
        title: Its title.
        says: What is told of each bucket.
        most: The largest value as text.
        sums: All buckets together.
    """

    title: str
    says: Sequence[str]
    most: Callable[[float], str]
    sums: str


def _plot(
    words: _Words, buckets: Sequence[SeriesPoint], layers: Sequence[tuple[str, Sequence[float]]]
) -> Plot:
    top = _round_up(max((value for _, values in layers for value in values), default=0.0))
    bars = [
        _rect(
            name, number * _STEP, _HEIGHT - _bar_height(value, top), _BAR, _bar_height(value, top)
        )
        for name, values in layers
        for number, value in enumerate(values)
        if value > 0
    ]
    hovers = [
        _hover(bucket, number * _STEP, words.says[number])
        for number, bucket in enumerate(buckets)
        if any(values[number] > 0 for _, values in layers)
    ]
    label = f"{words.title}: {words.sums}"
    svg = _svg("plot", len(buckets) * _STEP, _HEIGHT, label, "".join(bars + hovers))
    return Plot(words.title, svg, words.most(top) if top else "", words.sums)


def _svg(name: str, width: float, height: float, words: str, inside: str) -> Markup:
    return Markup(  # noqa: S704 - made of numbers and of words of this module
        f'<svg class="{name}" viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="none" '
        f'role="img" aria-label="{words}">{inside}</svg>'
    )


def _rect(name: str, x: float, y: float, width: float, height: float) -> str:
    """Return a rectangle: nothing to escape in it, and `format` would take six times as long."""
    return (
        f'<rect class="{name}" x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}"/>'
    )


def _bar_height(value: float, top: float) -> float:
    return max(_LEAST, _HEIGHT * value / top)


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 0.0
    power = 10.0 ** floor(log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= value))
