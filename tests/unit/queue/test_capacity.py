"""Lanes that wait make room for lanes that can work."""

from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.queue.lane.capacity import (
    MOST_HELD_SECONDS,
    Standing,
    find_room,
    find_standing,
    held,
)
from asyncbuild.queue.lane.protocol import Policy, State

_STANDINGS = st.builds(Standing, st.booleans(), st.booleans())


@given(st.lists(_STANDINGS, max_size=12), st.integers(1, 4))
def test_there_is_room_unless_lanes_work_or_none_of_those_that_wait_may_go(
    standings: list[Standing], most: int
) -> None:
    """At most so many work and so many wait; who gives way is the oldest that may."""
    room = find_room(standings, most=most)
    waiting = [n for n, each in enumerate(standings) if each.waits]
    able = [n for n in waiting if standings[n].yields]
    if len(standings) - len(waiting) >= most:
        assert not room.free
    elif len(waiting) < most:
        assert room.free
    else:
        assert room.free == bool(able)
    if room.gives_way is not None:
        assert room.gives_way == able[0]
        assert len(waiting) >= most


def _held(**more: float | None) -> tuple[bool, bool]:
    facts: dict[str, float | None] = {"age_seconds": 0, "retention_seconds": 14 * 86_400}
    facts |= {"max_receive_count": 50, "receive_count": 1, **more}
    found = held(1, ref=None, **facts)  # type: ignore[arg-type] # integers are floats here
    return found.returns, found.yields


def test_a_message_goes_back_only_while_the_queue_would_deliver_it_again() -> None:
    """Half of its receives are kept for restarts; without a redrive policy there is no end."""
    assert _held() == (True, True)
    assert _held(receive_count=25) == (True, True)
    assert _held(receive_count=26) == (True, False)
    assert _held(receive_count=49) == (True, False)
    assert _held(receive_count=50) == (False, False)
    assert _held(receive_count=500, max_receive_count=None) == (True, True)
    assert _held(max_receive_count=1) == (False, False)


def test_a_message_that_the_queue_would_soon_drop_does_not_go_back() -> None:
    """It may be held for twelve hours first, and as long again at its next delivery."""
    old = 14 * 86_400 - 2 * MOST_HELD_SECONDS
    assert _held(age_seconds=old - 1) == (True, True)
    assert _held(age_seconds=old) == (False, False)


def test_a_lane_whose_head_was_not_tried_has_a_moment_to_get_a_consumer() -> None:
    """One that was tried goes at once; one that knows a counted attempt stays."""

    def yields(*, paused: bool, seconds: float, may: bool = True) -> bool:
        policy = Policy(busy_most_seconds=10)
        head = State.PAUSED if paused else State.PREPARING
        found = find_standing(
            {1: State.SETTLED, 2: head},
            held_back=[2],
            blocked_seconds=seconds,
            may_give_way=may,
            policy=policy,
        )
        assert found.waits
        return found.yields

    assert yields(paused=True, seconds=0)
    assert not yields(paused=False, seconds=9)
    assert yields(paused=False, seconds=10)
    assert not yields(paused=True, seconds=0, may=False)


@given(st.lists(st.tuples(st.sampled_from(State), st.booleans()), max_size=6), st.booleans())
def test_every_lane_has_a_standing(row: list[tuple[State, bool]], may_give_way: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Also one of which nothing is left; only one for which nothing runs waits."""
    held_back = [n for n, (state, back) in enumerate(row) if back and state is State.PREPARING]
    found = find_standing(
        {n: state for n, (state, _) in enumerate(row)},
        held_back=held_back,
        blocked_seconds=100,
        may_give_way=may_give_way,
        policy=Policy(),
    )
    running = {State.STARTING, State.SETTLING, State.BURYING, State.PREPARING}
    runs = any(state in running and n not in held_back for n, (state, _) in enumerate(row))
    left = any(state is not State.SETTLED for state, _ in row)
    assert found.waits == (left and not runs)
    assert found.yields == (found.waits and may_give_way)
