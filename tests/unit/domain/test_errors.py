"""Kind and scope of an error: what to do about it, and how much it stops."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import asyncbuild
from asyncbuild.domain.errors import (
    BadCredentials,
    Busy,
    Fatal,
    Kind,
    LeaseLost,
    Outage,
    Reject,
    Retry,
    Scope,
    StageError,
    after_waiting,
)

# Names of kinds in lanes, logs, dead letters, records and metrics.
_VALUES = ("retry", "busy", "outage", "reject", "unreachable", "lease-lost", "fatal", "bug")


def _classes(of: type[StageError] = StageError) -> Iterator[type[StageError]]:
    for each in of.__subclasses__():
        yield each
        yield from _classes(each)


@pytest.fixture(scope="module")
def every_class() -> tuple[type[StageError], ...]:
    """Return every class of error of every module."""
    for module in pkgutil.walk_packages(asyncbuild.__path__, "asyncbuild."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = tuple(each for each in _classes() if each.__module__.startswith("asyncbuild."))
    assert len(found) > 20
    return found


def test_the_names_of_kinds_are_an_interface() -> None:
    """Dead letters and records of older versions contain them, and so do alarms."""
    assert tuple(each.value for each in Kind) == _VALUES


def test_each_kind_is_counted_or_waited_out_or_neither() -> None:
    """A kind that is waited out is not counted (I5)."""
    assert {kind for kind in Kind if kind.is_waited_out} == {Kind.BUSY, Kind.OUTAGE}
    assert {kind for kind in Kind if kind.counts} == {
        *(Kind.RETRY, Kind.REJECT, Kind.UNREACHABLE, Kind.BUG)
    }


def test_each_class_has_a_kind(every_class: tuple[type[StageError], ...]) -> None:
    """None is of kind bug, which is for errors that no stage meant to raise."""
    assert all(hasattr(each, "kind") for each in every_class)
    assert {each.kind for each in every_class} == set(Kind) - {Kind.BUG}


def test_the_scope_agrees_with_the_class(every_class: tuple[type[StageError], ...]) -> None:
    """Errors of scope SERVICE are exactly those of class Fatal."""
    for each in every_class:
        assert (each.scope is Scope.SERVICE) == issubclass(each, Fatal) == (each.kind == "fatal")
        assert (each.scope is Scope.DELIVERY) == issubclass(each, LeaseLost)


def test_the_class_that_is_caught_agrees_with_the_kind(
    every_class: tuple[type[StageError], ...],
) -> None:
    """Some callers ask for the class, others for the kind: both mean the same."""
    for each in every_class:
        assert issubclass(each, Busy) == each.kind.is_waited_out
        assert issubclass(each, Outage) == (each.kind is Kind.OUTAGE)
        assert issubclass(each, Reject) == (each.kind is Kind.REJECT)
        assert issubclass(each, Retry) == (each.kind is Kind.RETRY)


@pytest.mark.parametrize(
    ("error", "class_"),
    [
        (Busy("full", remedy="wait", peer="s3", code="SlowDown"), Busy),
        (Outage("away", remedy="look", peer="git", code="503"), Outage),
        (BadCredentials("none", remedy="log in", peer="sqs"), Outage),
        (Retry("odd", remedy="look", peer="git", code="409"), Busy),
    ],
)
def test_a_wait_that_was_too_long_says_how_long(
    error: StageError, class_: type[StageError]
) -> None:
    """An outage stays an outage, and keeps its details."""
    told = after_waiting(error, "waited for 7 s")
    assert type(told) is class_
    assert told.reason == f"waited for 7 s: {error.reason}"
    assert (told.remedy, told.peer, told.code) == (error.remedy, error.peer, error.code)
