"""Events are as documented, each is emitted, and each stage ends in its own events."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.listening import hearing

from asyncbuild.domain.events.catalogue import EVENTS
from asyncbuild.domain.events.push_events import PushOutcome, outcome_event
from asyncbuild.domain.events.stage_events import ENDS, STAGES
from asyncbuild.domain.model import Outcome, Verdict
from asyncbuild.runtime import log as logs
from asyncbuild.runtime.emit import stage

_ROOT = Path(__file__).parents[3]
# Created elsewhere than where they are emitted: by verdict, by `stage`, and from other loggers.
_MADE = {
    "library.logged",
    *(name for name, class_ in EVENTS.items() if issubclass(class_, PushOutcome)),
    *(f"{name}.{end}" for name in STAGES for end in ("finished", "failed", "cancelled")),
}


def _calls() -> Iterator[ast.Call]:
    for path in sorted((_ROOT / "asyncbuild").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield node


def _made() -> set[str]:
    """Return the names of events whose classes are called."""
    names = {class_.__name__: name for name, class_ in EVENTS.items()}
    called = {call.func.id for call in _calls() if isinstance(call.func, ast.Name)}
    return {name for class_, name in names.items() if class_ in called}


def test_every_event_is_emitted() -> None:
    """A documented event without a caller would never be logged."""
    assert _made() | _MADE == set(EVENTS)


def test_an_event_with_several_levels_is_emitted_at_one_of_them() -> None:
    """`emit` names the level where an event has several, and it is one of those."""
    several = {c.__name__: c.levels for c in EVENTS.values() if len(c.levels) > 1}
    told: set[str] = set()
    for call in _calls():
        if not isinstance(call.func, ast.Name) or call.func.id != "emit":
            continue
        levels = [keyword.value for keyword in call.keywords if keyword.arg == "level"]
        event = call.args[0]
        name = (
            event.func.id
            if isinstance(event, ast.Call) and isinstance(event.func, ast.Name)
            else ""
        )
        for level in levels:
            if isinstance(level, ast.Constant):
                assert level.value in several[name], name
        if name in several:
            told.add(name)
    assert told == {"ArchiveFull"}


def test_classes_are_named_after_their_events() -> None:
    """A line of the log leads to its class, and the class to its line."""
    for name, class_ in EVENTS.items():
        words = re.split(r"[.-]", name)
        assert class_.__name__.startswith("".join(word.title() for word in words)), name


def test_every_stage_is_used_and_has_its_ends() -> None:
    """Each has a call of `stage`; its end events have the same stage and fields."""
    assert [started.stage_name for started in ENDS] == list(STAGES)
    assert {f"{name}.started" for name in STAGES} <= _made()
    for started, ends in ENDS.items():
        for end in ("finished", "failed", "cancelled"):
            ended = EVENTS[f"{started.stage_name}.{end}"]
            assert getattr(ends, end) is ended
            assert vars(ended)["stage_name"] == started.stage_name
            assert set(started.field_names) < set(ended.field_names)


def test_the_documentation_lists_every_event() -> None:
    """docs/observability.md has a row for each event, with its levels, push and fields."""
    text = (_ROOT / "docs" / "observability.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z.-]+)` \| ([\w ]+) \| (yes|) ?\| (.*?) ?\| ", text, re.MULTILINE)
    documented = {
        event: (level, of_push == "yes", tuple(re.findall(r"`(\w+)`", fields)))
        for event, level, of_push, fields in rows
    }
    assert documented == {
        name: (" or ".join(class_.levels), class_.of_push, class_.field_names)
        for name, class_ in EVENTS.items()
    }


_TOLD_BY_VERDICT = [each for each in Verdict if each not in {"superseded", "rejected"}]


@pytest.mark.parametrize("verdict", _TOLD_BY_VERDICT)
def test_an_outcome_is_reported_by_its_verdict(verdict: Verdict) -> None:
    """Absent values are null; the seconds of a stage that did not run are left out."""
    told = outcome_event(Outcome(verdict, "why", timings={"start": 0.5}), since_push_seconds=2.0)
    assert (told.name, told.verdict) == (f"push.{verdict}", verdict)
    seconds = {"since_push_seconds": 2.0, "start_seconds": 0.5}
    fields = {name: value for name, value in told.fields().items() if value is not None}
    assert fields == {"reason": "why", **seconds}
    left_out = {"fetch_seconds", "archive_seconds"}
    assert set(told.field_names) - told.fields().keys() == left_out


@pytest.mark.parametrize("started", ENDS, ids=[each.stage_name for each in ENDS])
def test_a_cancelled_stage_has_its_event(started: type) -> None:
    """The event has the stage's own fields and the duration, and no reason."""
    logs.mute()
    own = dict.fromkeys(started.field_names, "x")  # type: ignore[attr-defined] # of an event
    with hearing() as lines, pytest.raises(KeyboardInterrupt), stage(started(**own)):
        raise KeyboardInterrupt
    begun, ended = lines
    name = begun["event"].removesuffix(".started")
    assert ended["event"] == f"{name}.cancelled"
    assert ended.keys() - begun.keys() == {"duration_seconds"}
