"""Waiting lanes make room for lanes that can work."""

from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.queue.lane.capacity import (
    MOST_HELD_SECONDS,
    LaneActivity,
    find_room,
    find_standing,
    held,
)
from asyncbuild.queue.lane.protocol import Policy, State
from asyncbuild.queue.lane.queue_facts import QueueFacts

_STANDINGS = st.builds(LaneActivity, st.booleans(), st.booleans())


@given(st.lists(_STANDINGS, max_size=12), st.integers(1, 4))
def test_there_is_room_while_a_waiting_lane_may_give_way(
    standings: list[LaneActivity], most: int
) -> None:
    """The numbers of working and waiting lanes are bounded; the oldest that may gives way."""
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


def _held(
    *,
    receive_count: int = 1,
    age_seconds: float = 0,
    max_receive_count: int | None = 50,
    retention_seconds: int = 14 * 86_400,
) -> tuple[bool, bool]:
    facts = QueueFacts(
        fifo=True,
        visibility_timeout_seconds=30,
        max_receive_count=max_receive_count,
        dead_letter_arn=None,
        retention_seconds=retention_seconds,
    )
    found = held(1, receive_count=receive_count, ref=None, age_seconds=age_seconds, facts=facts)
    return found.returns, found.yields


def test_a_message_is_released_only_if_it_will_be_delivered_again() -> None:
    """Half of its receives are kept for restarts; without a redrive policy nothing is limited."""
    assert _held() == (True, True)
    assert _held(receive_count=25) == (True, True)
    assert _held(receive_count=26) == (True, False)
    assert _held(receive_count=49) == (True, False)
    assert _held(receive_count=50) == (False, False)
    assert _held(receive_count=500, max_receive_count=None) == (True, True)
    assert _held(max_receive_count=1) == (False, False)


def test_a_message_near_the_end_of_retention_is_not_released() -> None:
    """Messages may be held for twelve hours first, and as long again at the next delivery."""
    old = 14 * 86_400 - 2 * MOST_HELD_SECONDS
    assert _held(age_seconds=old - 1) == (True, True)
    assert _held(age_seconds=old) == (False, False)


def test_a_lane_with_an_untried_head_waits_a_moment_for_a_consumer() -> None:
    """A lane whose head was tried goes at once; a lane with a counted attempt stays."""

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
def test_every_lane_works_or_waits(row: list[tuple[State, bool]], may_give_way: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """An empty lane works, too; a lane waits only if nothing of it runs."""
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
