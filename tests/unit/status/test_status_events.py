"""The list of events says what the code says, and so does the documentation."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from asyncbuild.domain.events import EVENTS, PUSH_FIELDS, STAGES

_ROOT = Path(__file__).parents[3]
_LEVELS = {name: name for name in ("debug", "info", "warning", "error")} | {"exception": "error"}
# Named by what happened: `push.{verdict}`, the ends that `logs.stage` adds, and what others log.
_MADE = (
    {"library.logged"}
    | {f"push.{verdict}" for verdict in ("built", "handed-over", "uploaded", "ignored", "stale")}
    | {f"{name}.{end}" for name in STAGES for end in ("started", "finished", "failed", "cancelled")}
)


def _calls() -> Iterator[ast.Call]:
    for path in sorted((_ROOT / "asyncbuild").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                yield node


def _logged() -> Iterator[tuple[str, str, set[str]]]:
    """Event, level and fields of every call of a logger."""
    for call in _calls():
        function, name = call.func, call.args[0]
        if not isinstance(function, ast.Attribute) or function.attr not in _LEVELS:
            continue
        assert isinstance(name, ast.Constant)
        fields = {keyword.arg for keyword in call.keywords if keyword.arg}
        if isinstance(name.value, str) and re.fullmatch(r"[a-z-]+(\.[a-z-]+)+", name.value):
            yield name.value, _LEVELS[function.attr], fields


def test_every_event_is_listed() -> None:
    """Each logged event is in the list with its level, and its fields are among those listed."""
    seen = set()
    for event, level, fields in _logged():
        assert event in EVENTS, f"{event} is logged but not listed in asyncbuild/domain/events.py"
        assert level in EVENTS[event].level.split(" or "), event
        assert fields <= {*EVENTS[event].fields, *PUSH_FIELDS}, event
        seen.add(event)
    assert seen > {"service.started", "lease.lost", "push.dead-lettered", "fetch.finished"}
    assert set(EVENTS) == seen | _MADE


def test_every_stage_is_listed() -> None:
    """Each call of `stage` names one of the stages, and each stage has a call."""
    named = {
        str(call.args[0].value)
        for call in _calls()
        if isinstance(call.func, ast.Name)
        and call.func.id == "stage"
        and isinstance(call.args[0], ast.Constant)
    }
    assert named == set(STAGES)


def test_the_documentation_lists_every_event() -> None:
    """docs/observability.md has a row for each event, with its level and fields."""
    text = (_ROOT / "docs" / "observability.md").read_text("utf-8")
    rows = re.findall(
        r"^\| `([a-z.-]+)` \| ([\w ]+) \| (?:yes|) ?\| (.*?) ?\| ", text, re.MULTILINE
    )
    documented = {event: (level, tuple(re.findall(r"`(\w+)`", f))) for event, level, f in rows}
    assert documented == {name: (event.level, event.fields) for name, event in EVENTS.items()}
