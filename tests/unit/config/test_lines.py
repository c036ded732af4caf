"""Lines of settings in a TOML file, whatever surrounds them."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.config.lines import Place, line_of, lines_of

_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(
    lambda text: json.dumps(text, ensure_ascii=False)
)
_ARRAYS = st.lists(_TEXTS, max_size=3).map(lambda items: "[\n  # ]\n" + ",\n".join(items) + "\n]")
_INLINE = _TEXTS.map(lambda text: f'{{ one = {text}, "two.three" = 2 }}')
_MULTILINE = st.sampled_from(["'''\n[not.a.table]\na = 1\n'''", '"""\n\\"""\n# no comment\n"""'])
_VALUES = st.one_of(st.just("1"), st.just("2026-11-29"), _TEXTS, _ARRAYS, _INLINE, _MULTILINE)
_NAMES = st.sampled_from(["a", "b-c", '"d.e"', "'f g'", "x.y"])
_BETWEEN = st.sampled_from(["", "\n", "# [comment]\n", "  \n\n", '# "a" = """\n'])
_TABLES = st.lists(
    st.tuples(st.sampled_from(["[{}]", "[[{}]]", " [ {} ] # [x]"]), _NAMES), max_size=4
)


@dataclass
class _Document:
    """A TOML document, and the line on which each of its settings begins."""

    text: str = ""
    lines: dict[Place, int] = field(default_factory=dict)

    def add(self, place: Place, written: str) -> None:
        self.lines[place] = self.text.count("\n") + 1
        self.text += written + "\n"


def _path(name: str) -> Place:
    return tuple(name.split(".")) if name == "x.y" else (name.strip("'\""),)


@st.composite
def _documents(draw: st.DrawFn) -> _Document:
    document = _Document()
    counts: dict[str, int] = {}
    for number, (header, name) in enumerate([("", ""), *draw(_TABLES)]):
        document.text += draw(_BETWEEN)
        place: Place = ()
        if header:
            own = name if "[[" in header else f"t{number}.{name}"
            place = (*([] if "[[" in header else [f"t{number}"]), *_path(name))
            if "[[" in header:
                own, place = f"list.{name}", ("list", *_path(name))
                counts[name] = counts.get(name, -1) + 1
                place = (*place, counts[name])
            document.add(place, header.format(own))
        for key in draw(st.lists(_NAMES, unique=True, max_size=3)):
            document.text += draw(_BETWEEN)
            document.add((*place, *_path(key)), f"{key} = {draw(_VALUES)}")
    return document


@given(_documents())
def test_every_setting_has_the_line_on_which_it_is_written(document: _Document) -> None:
    """Comments, strings and arrays of several lines, dotted and quoted names, lists of tables."""
    tomllib.loads(document.text)
    found = lines_of(document.text)
    assert {place: found.get(place) for place in document.lines} == document.lines


@given(_documents())
def test_every_value_has_a_line(document: _Document) -> None:
    """Values that `tomllib` reads are found at their own place, or at that of their table."""
    found = lines_of(document.text)
    for place in _iter_places((), tomllib.loads(document.text)):
        assert line_of(found, place) is not None, place


def _iter_places(around: Place, value: object) -> Iterator[Place]:
    inner: dict[int | str, object] = {}
    if isinstance(value, dict):
        inner = value
    elif isinstance(value, list):
        inner = dict(enumerate(value))
    for key, each in inner.items():
        yield (*around, key)
        yield from _iter_places((*around, key), each)


def test_an_absent_setting_has_the_line_of_its_table() -> None:
    """The line of the innermost table that exists; none where no table exists."""
    lines = lines_of("\n[[rules]]\nvariables = { A = '1' }\n[rules.x]\n")
    assert lines[("rules", 0, "variables", "A")] == 3
    assert line_of(lines, ("rules", 0, "action")) == 2
    assert line_of(lines, ("rules", 0, "x", "y")) == 4
    assert line_of(lines, ("queue", "url")) is None
