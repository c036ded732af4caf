"""Arithmetic of leases: the time granted, the margin kept, and the time of renewal."""

from dataclasses import dataclass
from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.queue.lane.lease_clock import Term

_HOURS_12 = 12 * 3_600  # SQS API Reference, ChangeMessageVisibility
_ASKED = st.integers(0, 1_000_000)  # whole seconds: sums of them are exact
_VISIBILITY = st.sampled_from([30, 60, 300, 600, 7_200, _HOURS_12])


@dataclass(frozen=True)
class _Renewal:
    after: int  # seconds since the receive was asked for
    seconds: int


_RENEWALS = st.lists(st.builds(_Renewal, st.integers(0, 50_000), st.integers(1, _HOURS_12)))


@given(asked=_ASKED, visibility=_VISIBILITY, renewals=_RENEWALS)
def test_a_commit_is_safe_for_as_long_as_the_longest_grant_less_a_tenth(
    asked: int, visibility: int, renewals: list[_Renewal]
) -> None:
    """I4: neither longer nor shorter; a shorter renewal takes nothing away."""
    term = Term(asked_at=asked, visibility_seconds=visibility)
    granted = asked + visibility
    for each in renewals:
        term.renewed(sent_at=asked + each.after, seconds=each.seconds)
        granted = max(granted, asked + each.after + each.seconds)
    end = term.ends_at
    assert end == pytest.approx(granted - visibility / 10, abs=0.001)
    assert term.is_over(end)
    assert term.is_over(end + 1)
    assert not term.is_over(nextafter(end, -inf))
    term.lose()
    assert term.is_over(asked)


@given(asked=_ASKED, visibility=_VISIBILITY, failed=st.integers(1, 11))
def test_a_lease_is_renewed_after_a_third_and_retried_each_twelfth(
    asked: int, visibility: int, failed: int
) -> None:
    """Two more tries fit before the end, however late the first was sent.

    The last wake is at the end.
    """

    def after(twelfths: int) -> object:
        return pytest.approx(asked + visibility * twelfths / 12, abs=0.001)

    term = Term(asked_at=asked, visibility_seconds=visibility)
    assert term.wakes_at == after(4)
    assert term.patience_seconds == pytest.approx(visibility / 3)
    term.not_renewed(asked + visibility * failed / 12)
    assert term.wakes_at == (after(failed + 1) if failed < 10 else term.ends_at)
    term.renewed(sent_at=asked + visibility, seconds=visibility)
    assert term.wakes_at == after(16)


@given(
    asked=_ASKED,
    visibility=_VISIBILITY,
    now=st.integers(0, _HOURS_12 + 100),
    seconds=st.floats(0, 100_000),
)
def test_no_more_than_the_limit_of_sqs_is_asked_for(
    asked: int, visibility: int, now: int, seconds: float
) -> None:
    """Every lease ends 12 hours after the receive; a minute is left for clocks and latency."""
    term = Term(asked_at=asked, visibility_seconds=visibility)
    left = _HOURS_12 - 60 - now
    asks = term.limit(seconds, asked + now)
    assert isinstance(asks, int)
    assert asks == max(1, min(int(seconds), left))
    assert term.renewal_seconds(asked + now) == max(1, min(visibility, left))


@given(asked=_ASKED, visibility=_VISIBILITY)
def test_a_lease_is_old_half_an_hour_before_sqs_ends_it(asked: int, visibility: int) -> None:
    """Renewals do not change that."""
    term = Term(asked_at=asked, visibility_seconds=visibility)
    term.renewed(sent_at=asked + 40_000, seconds=3_000)
    old = asked + _HOURS_12 - 1_800
    assert term.is_old(old)
    assert not term.is_old(old - 1)
