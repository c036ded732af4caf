"""Movements on record: which of them was the last of a ref."""

from datetime import UTC, datetime, timedelta

import pytest

from asyncbuild.domain.movements import FoundMark, Movement, find_later, find_settled

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
MAIN = "refs/heads/main"
A, B, C = "a" * 40, "b" * 40, "c" * 40


def at(minute: float, commit: str, old: str = "", verdict: str = "built") -> Movement:
    """Return a movement at a minute after noon."""
    time = NOON + timedelta(minutes=minute)
    return Movement(MAIN, commit, time, f"{minute}-{commit[:1]}", old, verdict)


SETTLED = [
    ("it is the only one", [at(1, B)]),
    ("it is the last one", [at(1, A), at(2, B)]),
    ("it was superseded", [at(1, B, verdict="superseded")]),
    ("a push that was stale is older", [at(1, B), at(2, A, verdict="stale")]),
    ("a push that was covered is older", [at(1, B), at(2, A, verdict="superseded")]),
    ("both in one second, this one after", [at(1, A), at(1, B, old=A)]),
    ("both in one second, nothing known", [at(1, A), at(1, B)]),
    ("back in one second", [at(1, B, old=A), at(1, C, old=B), at(1, B, old=C)]),
    ("the other came late, without a time", [at(1, B, old=A), at(5, A)]),
    ("it was deleted before", [at(1, ""), at(2, B)]),
]
MOVED = [
    ("none is on record", []),
    ("only others are", [at(1, A)]),
    ("it has moved on", [at(1, B), at(2, A)]),
    ("it was ignored there", [at(1, B), at(2, A, verdict="ignored")]),
    ("it was rejected there", [at(1, B), at(2, A, verdict="rejected")]),
    ("it was deleted", [at(1, B), at(2, "", verdict="ignored")]),
    ("both in one second, the other after", [at(1, B), at(1, A, old=B)]),
    ("there and back", [at(1, B, old=A), at(2, A, old=B)]),
]


@pytest.mark.parametrize(("why", "movements"), SETTLED)
def test_a_commit_is_settled_if(why: str, movements: list[Movement]) -> None:
    """A second build of one movement would be started otherwise."""
    for order in (movements, movements[::-1]):
        assert find_settled(B, order) is not None


@pytest.mark.parametrize(("why", "movements"), MOVED)
def test_a_commit_is_not_settled_if(why: str, movements: list[Movement]) -> None:
    """A push back to an older commit would be lost otherwise."""
    for order in (movements, movements[::-1]):
        assert find_settled(B, order) is None


def test_later_movements_are_those_to_other_places() -> None:
    """A found push that the ref has left is not built after its successor."""
    movements = [at(1, A), at(3, B), at(5, C, verdict="stale")]
    time = NOON + timedelta(minutes=2)
    assert find_later(B, time, movements) is None
    assert find_later(B, time, [*movements, at(4, C)]) == at(4, C)


@pytest.mark.parametrize(
    ("minute", "told"), [(-2, False), (-0.5, True), (0, True), (7, True), (10, True), (10.1, False)]
)
def test_an_event_tells_of_a_found_push(minute: float, told: bool) -> None:  # noqa: FBT001 - a case
    """An event of the same movement is nothing new; one before or after it is another push."""
    mark = FoundMark(B, NOON, NOON + timedelta(minutes=10), "found")
    time = NOON + timedelta(minutes=minute)
    assert mark.is_told_by(B, time) is told
    assert not mark.is_told_by(A, time)
