"""Ends of one ref and project: which is the later, and what each means."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.domain.outcomes.build_end import BuildEnd, is_later
from asyncbuild.domain.outcomes.end_history import (
    KEPT_MOST,
    EndHistory,
    EndMeaning,
    Transition,
    add_end,
    meaning_of_end,
)
from asyncbuild.domain.results.build_result import BuildStatus, StartedId, StartedKind

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
PASSED, FAILED = BuildStatus.SUCCEEDED, BuildStatus.FAILED


def an_end(
    number: int,
    status: BuildStatus = PASSED,
    *,
    seconds: float | None = None,
    attempt: int = 1,
    event_id: str | None = None,
    commits: tuple[str, str] | None = None,
) -> BuildEnd:
    """Return the end of the build of the push `number`, by default a minute after the one before.

    `commits` are its old and its new commit.
    """
    pushed_at = NOON + timedelta(seconds=60 * number if seconds is None else seconds)
    old, new = commits or (f"{number - 1:040x}", f"{number:040x}")
    begin = pushed_at + timedelta(minutes=attempt)
    return BuildEnd(
        of=StartedId(StartedKind.BUILD, "web", f"u{number}"),
        attempt=attempt,
        status=status,
        event_id=event_id or f"event-{number}",
        pushed_at=pushed_at,
        commit=new,
        old_commit=old,
        began_at=begin,
        observed_at=begin + timedelta(minutes=1),
    )


def told(*ends: BuildEnd) -> tuple[EndHistory, list[EndMeaning]]:
    """Return the history after these ends, and what each meant when it was told."""
    history, meanings = EndHistory(), []
    for end in ends:
        history = add_end(history, end)
        meanings.append(meaning_of_end(history, end))
    return history, meanings


def test_only_changes_are_broke_and_fixed() -> None:
    """The first end of a ref is no change, nor is a second failure."""
    ends = [an_end(n, status) for n, status in enumerate([FAILED, PASSED, FAILED, FAILED, PASSED])]
    _, meanings = told(*ends)
    broke, fixed = Transition.BROKE, Transition.FIXED
    assert [each.transition for each in meanings] == [None, fixed, broke, None, fixed]
    assert [each.previous for each in meanings] == [None, *ends[:-1]]


def test_the_late_end_of_an_older_push_changes_nothing() -> None:
    """It is told as late, and the next end is compared with the newest."""
    first, second, third, fourth = (
        an_end(n, s) for n, s in enumerate([PASSED, FAILED, PASSED, FAILED])
    )
    _, meanings = told(first, third, second, fourth)
    assert meanings[1:3] == [EndMeaning(previous=first), EndMeaning(late=True)]
    assert meanings[3] == EndMeaning(previous=third, transition=Transition.BROKE)


def test_a_fault_is_no_verdict() -> None:
    """CodeBuild's own error neither breaks nor fixes; what follows is compared with before."""
    ends = [an_end(n, s) for n, s in enumerate([PASSED, BuildStatus.FAULT, FAILED])]
    _, meanings = told(*ends)
    assert [each.transition for each in meanings] == [None, None, Transition.BROKE]
    assert meanings[2].previous == ends[0]


def test_a_later_attempt_of_the_same_push_may_fix_it() -> None:
    """A pipeline whose failed stage is tried again ends twice."""
    _, meanings = told(an_end(1), an_end(2, FAILED), an_end(2, PASSED, attempt=2))
    assert [each.transition for each in meanings] == [None, Transition.BROKE, Transition.FIXED]


def test_of_pushes_in_one_second_the_one_that_follows_is_the_later() -> None:
    """CodeCommit tells whole seconds, and ids of events have no order."""
    first = an_end(1, seconds=0, event_id="z")
    second = an_end(2, seconds=0, event_id="a")
    assert is_later(second, first)
    assert not is_later(first, second)
    behind = an_end(2, seconds=-3, event_id="a")  # by a clock that is three seconds behind
    assert is_later(behind, first)


def test_a_branch_that_goes_back_keeps_the_order_of_time() -> None:
    """By force from A to B and back to A: both name the other's commit as their old one."""
    forth = an_end(1, seconds=0, commits=("a" * 40, "b" * 40))
    back = an_end(2, seconds=5, commits=("b" * 40, "a" * 40))
    assert is_later(back, forth)
    assert not is_later(forth, back)


_ENDS = st.builds(
    an_end,
    st.integers(0, 9),
    st.sampled_from([PASSED, FAILED, BuildStatus.TIMED_OUT, BuildStatus.FAULT]),
    seconds=st.sampled_from([None, 0, 1, 59, 61, 3_600]),
    attempt=st.integers(1, 3),
    commits=st.none() | st.tuples(st.sampled_from("abc"), st.sampled_from("abc")),
)


@given(_ENDS, _ENDS)
def test_of_two_ends_one_is_the_later(one: BuildEnd, other: BuildEnd) -> None:
    """Never both, and neither only for two observations of one attempt."""
    assert not (is_later(one, other) and is_later(other, one))
    if one.event_id != other.event_id:
        assert is_later(one, other) or is_later(other, one)


@given(st.lists(_ENDS, max_size=2 * KEPT_MOST))
def test_an_end_that_is_told_again_means_the_same(ends: list[BuildEnd]) -> None:
    """As long as fewer than so many later ends came between; and nothing is added twice."""
    history, meanings = told(*ends)
    assert len(history) <= KEPT_MOST
    for end, meaning in zip(ends, meanings, strict=True):
        again = add_end(history, end)
        if any(each.is_same(end) for each in history[:-1]):
            assert again is history
            earlier = next(
                m for e, m in zip(ends, meanings, strict=True) if e.is_same(end) and not m.late
            )
            assert meaning_of_end(history, end) == (meaning if not meaning.late else earlier)


def test_a_build_beside_the_order_of_the_newest_commit_counts() -> None:
    """A flaky build that is built once more fixes its ref; a later push is still later."""
    failed, again, newer = an_end(1, FAILED), an_end(9, PASSED), an_end(2, FAILED)
    again = replace(again, commit=failed.commit, beside_order=True)
    history, meanings = told(an_end(0), failed, again, newer)
    broke, fixed = Transition.BROKE, Transition.FIXED
    assert [each.transition for each in meanings] == [None, broke, fixed, broke]
    assert meaning_of_end(add_end(history, again), again).transition is fixed  # told again


def test_a_build_beside_the_order_of_another_commit_changes_nothing() -> None:
    """An old commit that fails does not break the branch, however late it was asked for."""
    old = replace(an_end(9, FAILED), commit="0" * 40, beside_order=True)
    history, meanings = told(old, an_end(1), old)
    assert meanings == [EndMeaning(late=True), EndMeaning(), EndMeaning(late=True)]
    assert len(history) == 1
