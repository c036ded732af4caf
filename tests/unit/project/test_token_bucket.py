"""Links of measurements keep to their rate: the clock is given, so nothing here takes time."""

from hypothesis import given
from hypothesis import strategies as st
from support.token_bucket import TokenBucket

RATE, BURST = 1_000.0, 500.0
sizes = st.integers(1, 2_000)
pauses = st.floats(0, 3)


@given(st.lists(st.tuples(pauses, sizes), min_size=1, max_size=50))
def test_no_more_passes_than_rate_and_burst_permit(requests: list[tuple[float, int]]) -> None:
    """A link that is faster than it says would make seeds look good."""
    bucket, now, passed = TokenBucket(RATE, BURST), 0.0, 0
    first = requests[0][0]
    for pause, nbytes in requests:
        now += pause
        now += bucket.take(nbytes, now)
        passed += nbytes
        assert passed <= BURST + RATE * (now - first) + 1e-6


@given(st.lists(sizes, min_size=1, max_size=50))
def test_link_that_is_never_idle_is_as_fast_as_it_says(requests: list[int]) -> None:
    """A link that is slower than it says would do the same for clones."""
    bucket, now = TokenBucket(RATE, BURST), 0.0
    for nbytes in requests:
        now += bucket.take(nbytes, now)
    assert abs(now - max(0.0, (sum(requests) - BURST) / RATE)) < 1e-6


def test_idle_time_saves_up_a_burst_and_no_more() -> None:
    """After a minute of silence the link is not unlimited for a minute."""
    bucket = TokenBucket(RATE, BURST)
    assert bucket.take(500, 60.0) == 0
    assert bucket.take(1_000, 60.0) == 1
