"""Markdown of generated pages: tables and code blocks from texts that may hold any character."""

import re
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown on one line."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(_cell(each) for each in row) + " |\n" for row in lines)


def code(text: str) -> str:
    """Return an inline literal, or nothing for an empty text."""
    ticks = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (ticks + 1)
    pad = " " * bool(ticks)
    return f"{fence}{pad}{text}{pad}{fence}" if text else ""


def block(text: str, language: str = "text") -> str:
    """Return a code block."""
    return f"~~~~{language}\n{text.rstrip()}\n~~~~\n"


def plain(text: str) -> str:
    """Return a sentence of a docstring or comment as Markdown that shows every character."""
    parts = re.split(r"(``?[^`]+``?)", " ".join(text.split()))
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*_<>\[\]{}$~])", r"\\\1", part)
        for part in parts
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
