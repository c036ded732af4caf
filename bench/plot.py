"""A bar chart as SVG, drawn by hand: one group of bars for each repository."""

from collections.abc import Mapping
from html import escape

_ROW = 20
_LEFT = 140
_WIDTH = 720
_STYLE = "font-family:system-ui,sans-serif;font-size:12px;fill:#333"


def bars(charts: Mapping[str, Mapping[str, float]]) -> str:
    """Return bars of seconds by way, for each repository; every group has its own scale."""
    shapes: list[str] = []
    y = 10
    for title, seconds in charts.items():
        longest, floor = max(seconds.values()), next(iter(seconds.values()))
        shapes.append(f'<text x="10" y="{y + 14}" font-weight="bold">{escape(title)}</text>')
        y += _ROW
        for way, value in seconds.items():
            length = value / longest * (_WIDTH - _LEFT - 150)
            colour = "#2a7f62" if way.startswith("ours") else "#9aa5b1"
            label = f"{value:.2f} s, {value / floor:.2f} of floor"
            shapes += [
                f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(way)}</text>',
                f'<rect x="{_LEFT}" y="{y + 3}" width="{length:.1f}" height="14" fill="{colour}"/>',
                f'<text x="{_LEFT + length + 6:.1f}" y="{y + 14}">{label}</text>',
            ]
            y += _ROW
        y += 10
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" style="{_STYLE}">\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )
