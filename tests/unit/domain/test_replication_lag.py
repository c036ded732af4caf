"""Pushes that a git server may still show after a lag."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.codebuild import make_push

from asyncbuild.domain.model import Nothing, Push
from asyncbuild.domain.replication_lag import is_young, may_appear
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.requests.request_terms import RequestTerms

FOUND = RequestTerms("reconcile", as_push=True)
OLD, NEWER, OTHER = "1" * 40, "2" * 40, "3" * 40
PUSH = replace(make_push(), old_commit=OLD)


def _deletion(push: Push = PUSH) -> Nothing:
    return Nothing("d", f"{push.ref} was deleted", push.repository, push.ref)


def _repeat(*, seconds: float, timed: bool = True) -> Push:
    """Return a push that sets the ref back to its old commit, `seconds` before `PUSH`."""
    time = PUSH.time - timedelta(seconds=seconds)
    return replace(PUSH, id="repeated", commit=OLD, time=time, timed=timed)


@given(
    age=st.floats(0, 10_000),
    event_age=st.floats(-100_000, 100_000),
    seconds=st.floats(0, 10_000),
)
def test_the_age_of_a_push_is_that_of_its_message(
    age: float, event_age: float, seconds: float
) -> None:
    """The clock of the git server does not matter."""
    sent = PUSH.time
    push = replace(PUSH, time=sent - timedelta(seconds=event_age))
    now = sent + timedelta(seconds=age)
    young = (now - sent).total_seconds() < seconds
    assert is_young(push, sent=sent, now=now, seconds=seconds) is young


def test_a_message_without_a_time_is_as_old_as_its_event() -> None:
    """The time of the event is the only one known."""
    now = PUSH.time + timedelta(seconds=100)
    assert is_young(PUSH, sent=None, now=now, seconds=101)
    assert not is_young(PUSH, sent=None, now=now, seconds=100)


@pytest.mark.parametrize(
    ("tip", "later", "may"),
    [
        ("", (), True),  # the ref is not there yet
        ("", (_deletion(),), False),
        ("", (replace(PUSH, commit=NEWER),), True),  # that one is not there, either
        (OLD, (), True),
        (OLD, (_deletion(),), True),  # created again, or not deleted yet
        (OLD, (replace(PUSH, commit=NEWER),), True),
        (NEWER, (replace(PUSH, commit=NEWER),), False),  # a force push left it out
        (NEWER, (replace(PUSH, commit=OTHER), replace(PUSH, commit=NEWER)), False),
        (OLD, (_repeat(seconds=1),), True),  # an older push, delivered again
        (OLD, (_repeat(seconds=0),), True),  # of the same second
        (OLD, (_repeat(seconds=0, timed=False),), True),
        (OLD, (_repeat(seconds=-1),), False),  # pushed back, and the server shows that
    ],
)
def test_pushes_of_the_same_ref_decide(
    tip: str, later: tuple[Push | Nothing, ...], *, may: bool
) -> None:
    """A newer push that is shown, or a deletion, explains the gap; nothing else does."""
    assert may_appear(PUSH, tip=tip, later=later) is may


@given(tip=st.sampled_from(["", OLD, NEWER]), deleted=st.booleans())
def test_events_of_other_refs_and_repositories_decide_nothing(tip: str, *, deleted: bool) -> None:
    """Names may be the same elsewhere."""
    stranger = Repository.of_codecommit("0" * 12, "eu-west-1", PUSH.repository.name)
    strangers = [
        replace(PUSH, ref="refs/tags/main", commit=NEWER),
        replace(PUSH, repository=stranger, commit=NEWER),
    ]
    later = [_deletion(each) if deleted else each for each in strangers]
    assert may_appear(PUSH, tip=tip, later=[*later, Nothing("n", "a merge")])


def test_a_build_on_request_proves_nothing() -> None:
    """A later request for another commit of the ref does not say that the ref has moved."""
    later = replace(_repeat(seconds=-1), commit=NEWER)
    assert not may_appear(PUSH, tip=NEWER, later=[later])
    asked = replace(later, terms=RequestTerms("build"))
    assert may_appear(PUSH, tip=NEWER, later=[asked])
    assert not may_appear(PUSH, tip=NEWER, later=[replace(asked, terms=FOUND)])
