"""Mirrors to evict when the cache exceeds its budget."""

from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.domain.eviction import Occupant, plan_eviction

occupants = st.lists(
    st.builds(
        Occupant,
        path=st.text("abcdef", min_size=1, max_size=8),
        size_bytes=st.integers(0, 1000),
        used_at=st.floats(0, 100),
        busy=st.booleans(),
    ),
    max_size=30,
    unique_by=lambda each: each.path,
)


def test_the_least_recently_used_goes_first() -> None:
    """No more mirrors are evicted than necessary."""
    old, middle, new = (Occupant(name, 10, age) for name, age in (("o", 1), ("m", 2), ("n", 3)))
    assert plan_eviction([new, old, middle], 20) == [old]
    assert plan_eviction([new, old, middle], 19) == [old, middle]
    assert plan_eviction([new, old, middle], 30) == []


def test_one_in_use_stays_even_beyond_the_budget() -> None:
    """A mirror larger than the whole budget must still be usable."""
    huge = Occupant("huge", 100, 0, busy=True)
    small = Occupant("small", 1, 1)
    assert plan_eviction([huge, small], 10) == [small]


def test_equal_ages_are_ordered_by_path() -> None:
    """Two processes name the same mirrors, whatever the order of the directory."""
    twins = [Occupant("b", 10, 1), Occupant("a", 10, 1)]
    assert plan_eviction(twins, 10) == plan_eviction(twins[::-1], 10) == [Occupant("a", 10, 1)]


@given(occupants, st.integers(0, 5000))
def test_the_rest_fits_unless_it_is_in_use(cache: list[Occupant], budget: int) -> None:
    """The rest fits, or only mirrors in use are left; no mirror in use is evicted."""
    going = plan_eviction(cache, budget)
    staying = [each for each in cache if each not in going]
    assert not any(each.busy for each in going)
    fits = sum(each.size_bytes for each in staying) <= budget
    assert fits or all(each.busy for each in staying)


@given(occupants, st.integers(0, 5000))
def test_each_eviction_is_needed(cache: list[Occupant], budget: int) -> None:
    """Without the last one the rest would not fit.

    No newer mirror is evicted before an older one.
    """
    going = plan_eviction(cache, budget)
    if going:
        rest = sum(each.size_bytes for each in cache) - sum(each.size_bytes for each in going[:-1])
        assert rest > budget
        idle = sorted((each for each in cache if not each.busy), key=lambda e: (e.used_at, e.path))
        assert going == idle[: len(going)]
