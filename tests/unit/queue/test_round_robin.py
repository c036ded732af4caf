"""Order of lanes, and the number of places of each forge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.queue.lane.round_robin import Turns


def _take_all(turns: Turns[int]) -> list[tuple[object, int, str]]:
    taken = []
    while (found := turns.take()) is not None:
        taken.append(found)
    return taken


@given(
    count=st.integers(1, 8),
    forges=st.integers(1, 4),
    reserve=st.integers(0, 3),
    running=st.lists(st.sampled_from(["", "x", "y", "z"]), max_size=8),
    waiting=st.integers(0, 9),
)
def test_the_number_of_ready_jobs_is_what_would_be_taken(
    count: int, forges: int, reserve: int, running: list[str], waiting: int
) -> None:
    """One forge's jobs wait, with any others running."""
    turns: Turns[int] = Turns(count, forges=forges, reserve=reserve)
    for number, forge in enumerate(running):
        turns.add(f"running {number}", number, forge)
    while len(turns):
        if turns.take() is None:  # full: stop waiting
            for number in range(len(running)):
                turns.remove(f"running {number}", number)
    for number in range(waiting):
        turns.add(number % 3, number, "x")
    ready = turns.count_ready()
    if waiting:
        assert turns.is_full("x") is (ready == 0)
    assert ready == len(_take_all(turns))
    assert turns.count_ready() == 0


@pytest.mark.parametrize(
    ("count", "forges", "reserve", "running", "left"),
    [
        (4, 1, 0, "", 4),
        (4, 2, 0, "", 4),
        (4, 2, 1, "", 3),  # one is kept for the other forge
        (4, 3, 1, "", 2),
        (4, 3, 1, "y", 2),  # which uses it
        (4, 3, 1, "yy", 1),
        (6, 3, 2, "y", 2),  # y has one of its two; z has none
        (6, 2, 2, "xyy", 3),
        (6, 2, 2, "xxxx", 0),
        (6, 2, 2, "xxx", 1),
        (2, 5, 1, "", 1),  # fewer places than forges: the last is for another
        (2, 5, 1, "x", 0),
        (1, 2, 1, "", 1),
        (3, 2, 1, "--", 1),  # jobs without a forge take places, too
        (3, 2, 1, "---", 0),
        (4, 3, 1, "xyz", 1),
        (5, 2, 1, "-", 3),  # and none is their place
    ],
)
def test_places_of_a_forge(count: int, forges: int, reserve: int, running: str, left: int) -> None:
    """Free places, less those kept for other forges."""
    turns: Turns[int] = Turns(count, forges=forges, reserve=reserve)
    for number, letter in enumerate(running):
        forge = letter.replace("-", "")
        turns.add(f"running {number}", number, forge)
        assert turns.take() == (f"running {number}", number, forge)
    for number in range(9):
        turns.add("lane", number, "x")
    assert turns.is_full("x") is (left == 0)
    assert turns.count_ready() == left
    assert len(_take_all(turns)) == left
    assert len(turns) == 9 - left


def test_without_a_limit_all_waiting_jobs_are_ready() -> None:
    """None is kept back; nor, with a limit, a job without a forge."""
    turns: Turns[int] = Turns()
    for number in range(5):
        turns.add("lane", number, "x" if number % 2 else "")
    assert not turns.is_full("x")
    assert turns.count_ready() == 5
    assert [job for _, job, _ in _take_all(turns)] == [0, 1, 2, 3, 4]
    few: Turns[int] = Turns(1)
    for number in range(3):
        few.add("lane", number)
    assert few.count_ready() == 3
    assert not few.is_full("")
    assert few.take() == ("lane", 0, "")


def test_a_lane_that_had_its_turn_waits_for_the_others() -> None:
    """With equal numbers running, the lane whose last turn is longest ago comes first."""
    turns: Turns[int] = Turns()
    for lane in "abc":
        for number in range(3):
            turns.add(lane, number)
    order = []
    for _ in range(9):
        taken = turns.take()
        assert taken is not None
        order.append(f"{taken[0]}{taken[1]}")
        turns.done(taken[0], taken[2])
    assert order == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_an_ended_job_frees_its_place() -> None:
    """The place of its lane and that of its forge are both free."""
    turns: Turns[int] = Turns(2, forges=2, reserve=1)
    turns.add("a", 1, "x")
    turns.add("b", 2, "x")
    assert turns.take() == ("a", 1, "x")
    assert turns.is_full("x")
    assert turns.take() is None
    turns.done("a", "x")
    assert not turns.is_full("x")
    assert turns.take() == ("b", 2, "x")
    turns.add("b", 3, "y")
    turns.add("a", 4, "y")
    assert turns.take() == ("a", 4, "y")  # b has one under way
    turns.done("b", "x")
    turns.done("a", "y")
    assert turns.take() == ("b", 3, "y")


def test_only_a_waiting_job_is_removed() -> None:
    """A waiting job is removed once, and from its own lane."""
    turns: Turns[int] = Turns()
    for number in range(3):
        turns.add("a", number, "x")
    assert not turns.remove("b", 1)
    assert not turns.remove("a", 7)
    assert turns.remove("a", 1)
    assert not turns.remove("a", 1)
    assert len(turns) == 2
    assert [job for _, job, _ in _take_all(turns)] == [0, 2]
    assert not turns.remove("a", 0)
    turns.add("b", 5)
    assert turns.remove("b", 5)
    assert turns.take() is None


def test_each_ended_job_frees_one_place() -> None:
    """Two jobs of one lane and one forge are running."""
    turns: Turns[int] = Turns(4, forges=2, reserve=1)
    for number in range(3):
        turns.add("a", number, "x")
    assert len(_take_all(turns)) == 3
    for ended in (1, 2):
        turns.done("a", "x")
        for number in range(9):
            turns.add("b", number, "x")
        assert turns.count_ready() == ended
        for number in range(9):
            turns.remove("b", number)


def test_ended_jobs_count_for_the_order_of_lanes() -> None:
    """The lane with the fewest running jobs comes first, whichever had the last turn."""
    turns: Turns[int] = Turns()
    for number in range(4):
        turns.add("a", number)
    assert len(_take_all(turns)) == 4
    for number in range(2):
        turns.add("b", number)
    assert turns.take() == ("b", 0, "")
    turns.add("a", 4)
    for _ in range(2):
        turns.done("a")
        assert turns.take() == ("b", 1, "")
        turns.done("b")
        turns.add("b", 1)
    turns.done("a")  # now it has one, too, and its last turn is longer ago
    assert turns.take() == ("a", 4, "")
