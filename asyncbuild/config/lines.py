"""Line numbers of the settings in a TOML file. Pure.

TOML libraries for Python return values without positions (`tomllib`, `tomlkit` and `rtoml`), but
TOML is a sequence of statements, each of whole lines, and the beginning of a statement is not TOML.
So lines are added, one by one, until `tomllib` can parse them: there the statement ends.
"""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

Place = tuple[int | str, ...]
"""Path of a setting in the document, such as `("rules", 0, "action")`."""


def lines_of(text: str) -> dict[Place, int]:
    """Return the line, from 1, at which each table and setting of a valid TOML text begins."""
    found: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    for number, statement in _iter_statements(text):
        inner = tomllib.loads(statement)
        if statement.startswith("["):
            table = _table_of(inner, counts)
            _note(found, table, number)
        else:
            for place in _iter_places(table, inner):
                _note(found, place, number)
    return found


def line_of(lines: Mapping[Place, int], place: Place) -> int | None:
    """Return the line of a setting, or of the innermost table around it that the file has."""
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return None


def _iter_statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the first line's number and the text of each statement; comments are left out."""
    begun, held = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        if not held and (not line.strip() or line.lstrip().startswith("#")):
            continue
        begun = begun or number
        held += line + "\n"
        try:
            tomllib.loads(held)
        except tomllib.TOMLDecodeError:
            continue
        yield begun, held.lstrip()
        begun, held = 0, ""


def _table_of(header: Mapping[str, Any], counts: dict[Place, int]) -> Place:
    """Return the place of the table that a header opens.

    Args:
        header: The parsed header.
        counts: Number of the last element of each list of tables; updated.
    """
    place: Place = ()
    value: Any = header
    while isinstance(value, dict) and value:
        ((key, value),) = value.items()
        place = (*place, key)
        if isinstance(value, list):  # [[name]]: one more
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def _iter_places(table: Place, values: Mapping[str, Any]) -> Iterator[Place]:
    for key, value in values.items():
        place = (*table, key)
        yield place
        if isinstance(value, dict):
            yield from _iter_places(place, value)


def _note(found: dict[Place, int], place: Place, number: int) -> None:
    """Record the first line of a place and of all tables around it.

    Args:
        found: Lines by place; updated.
        place: The place.
        number: Line number, from 1.
    """
    for length in range(1, len(place) + 1):
        found.setdefault(place[:length], number)
