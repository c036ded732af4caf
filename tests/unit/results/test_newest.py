"""Choice between two observations of one build."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
    newest,
)

NOW = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)
BUILD = StartedId(StartedKind.BUILD, "web", "0a")
EXECUTION = StartedId(StartedKind.EXECUTION, "deploy", "e1")
RUNNING, FAILED, PASSED = BuildStatus.IN_PROGRESS, BuildStatus.FAILED, BuildStatus.SUCCEEDED


def _result(
    status: BuildStatus, *, seconds: int = 0, attempt: int = 1, of: StartedId = BUILD
) -> BuildResult:
    return BuildResult(of, status, NOW + timedelta(seconds=seconds), attempt)


@pytest.mark.parametrize(
    ("known", "seen", "counts"),
    [
        (_result(RUNNING), _result(FAILED), True),
        (_result(RUNNING, seconds=5), _result(FAILED), True),
        (_result(FAILED), _result(RUNNING, seconds=5), False),
        (_result(FAILED), _result(PASSED, seconds=5), False),
        (_result(RUNNING), _result(RUNNING, seconds=5), True),
        (_result(RUNNING, seconds=5), _result(RUNNING), False),
        (_result(FAILED), _result(RUNNING, attempt=2), True),
        (_result(RUNNING, attempt=2), _result(FAILED, seconds=5), False),
        (_result(PASSED, attempt=2), _result(FAILED, seconds=5), False),
        (_result(FAILED, of=EXECUTION), _result(PASSED, of=EXECUTION, seconds=5), True),
        (_result(PASSED, of=EXECUTION, seconds=5), _result(FAILED, of=EXECUTION), False),
        (_result(FAILED, of=EXECUTION), _result(RUNNING, of=EXECUTION, seconds=5), False),
    ],
)
def test_the_newer_state_counts(known: BuildResult, seen: BuildResult, *, counts: bool) -> None:
    """Attempts first, then ends, then the time; an execution alone may end twice."""
    assert newest(known, seen) is (seen if counts else known)


def test_the_first_observation_counts() -> None:
    """No state is known before it."""
    seen = _result(RUNNING)
    assert newest(None, seen) is seen


def test_of_two_builds_of_a_push_the_later_one_counts() -> None:
    """Any states, and either of them seen last."""
    other = replace(BUILD, number="0b")
    first = replace(_result(PASSED), started_at=NOW)
    second = replace(_result(RUNNING, of=other), started_at=NOW + timedelta(seconds=9))
    assert newest(first, second) is second
    assert newest(second, first) is second


_ANY = st.builds(
    _result,
    st.sampled_from(BuildStatus),
    seconds=st.integers(0, 3),
    attempt=st.integers(1, 3),
    of=st.just(BUILD),
)


@given(seen=st.lists(_ANY, min_size=1, max_size=6))
def test_no_order_of_observations_leads_back(seen: list[BuildResult]) -> None:
    """The kept one has the highest attempt, and is an end if that attempt was seen to end."""
    kept: BuildResult | None = None
    for each in seen:
        kept = newest(kept, each)
    assert kept is not None
    last = max(each.attempt for each in seen)
    assert kept.attempt == last
    assert kept.status.is_end == any(e.status.is_end for e in seen if e.attempt == last)
