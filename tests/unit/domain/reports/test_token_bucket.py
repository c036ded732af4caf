"""Token bucket of a credential."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.domain.reports.token_bucket import TokenBucket


@given(st.lists(st.floats(0, 30), max_size=200))
def test_no_period_has_more_than_twice_the_allowance(pauses: list[float]) -> None:
    """A full bucket, and what refills it meanwhile."""
    bucket, now, taken = TokenBucket(5, 60), 0.0, list[float]()
    for pause in pauses:
        now += pause
        if bucket.take(now) == 0:
            taken.append(now)
    for begin in taken:
        assert sum(1 for each in taken if begin <= each < begin + 60) <= 10


def test_the_wait_is_as_long_as_told() -> None:
    """Neither earlier nor later."""
    bucket = TokenBucket(2, 60)
    assert bucket.take(0) == 0
    assert bucket.take(0) == 0
    wait = bucket.take(0)
    assert wait == pytest.approx(30)
    assert bucket.take(wait / 2) > 0
    assert bucket.take(wait) == 0


def test_the_server_closes_and_lowers_it() -> None:
    """By Retry-After, and by what it says is left."""
    bucket = TokenBucket(100, 3_600)
    bucket.close(10, 90)
    assert bucket.take(40) == pytest.approx(60)
    assert bucket.share(40) == 0
    assert bucket.take(100) == 0
    bucket.limit(100, 3)
    bucket.limit(100, 50)
    assert bucket.share(100) == pytest.approx(0.03)
