"""The lane's rules, one by one and all together, under any order of events."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.lane_diagram import diagram

from asyncbuild.domain.errors import Kind
from asyncbuild.queue.lane import protocol as p
from asyncbuild.queue.lane.state_machine import Lane, LaneBug
from asyncbuild.queue.lane.transitions import TABLE

_POLICY = p.Policy(lookahead=3, max_attempts=2, retry_first_seconds=1, retry_most_seconds=8)

_SKIPPING = replace(_POLICY, skip_superseded=True)


def _lane(count: int, *, received: int = 1, policy: p.Policy = _POLICY) -> Lane:
    return Lane([p.LaneMessage(n, received) for n in range(1, count + 1)], policy)


def test_builds_start_in_order_though_prepared_ahead() -> None:
    """The head's build is started first, whatever is prepared first (I2)."""
    lane = _lane(4)
    assert lane.open() == [p.Prepare(1), p.Prepare(2), p.Prepare(3)]
    assert lane.feed(p.Prepared(2)) == []
    assert lane.feed(p.Prepared(1)) == [p.Start(1)]
    assert lane.feed(p.Started(1)) == [p.Delete(1)]
    assert lane.feed(p.Settled(1)) == [p.Start(2), p.Prepare(4)]


def test_a_retry_waits_longer_each_time_and_is_dead_lettered_at_last() -> None:
    """Attempts are counted; followers keep their preparation."""
    lane = _lane(2)
    lane.open()
    assert lane.feed(p.Prepared(2)) == []
    assert lane.feed(p.Failed(1, Kind.RETRY, jitter=1.0)) == [p.Wait(1, 1.0)]
    assert lane.feed(p.Due(1)) == [p.Prepare(1)]
    assert lane.feed(p.Failed(1, Kind.RETRY)) == [p.SendDeadLetter(1, attempts=2)]
    assert lane.feed(p.Settled(1)) == [p.Start(2)]


def test_a_reject_of_a_follower_waits_for_its_turn() -> None:
    """No newer push is settled before the head (I3)."""
    lane = _lane(2)
    lane.open()
    assert lane.feed(p.Failed(2, Kind.REJECT)) == []
    assert lane.feed(p.Prepared(1)) == [p.Start(1)]
    assert lane.feed(p.Started(1)) == [p.Delete(1)]
    assert lane.feed(p.Settled(1)) == [p.SendDeadLetter(2, attempts=1)]
    assert lane.feed(p.Settled(2)) == [p.Close()]


@pytest.mark.parametrize("kind", [Kind.BUSY, Kind.OUTAGE])
def test_a_limit_or_an_outage_counts_no_attempt(kind: Kind) -> None:
    """A hundred times at the limit, and the build is still started (I5)."""
    lane = _lane(1)
    lane.open()
    lane.feed(p.Prepared(1))
    waits = []
    for _ in range(100):
        (wait,) = lane.feed(p.Failed(1, kind))
        assert isinstance(wait, p.Wait)
        waits.append(wait.seconds)
        assert lane.feed(p.Due(1)) == [p.Start(1)]
    assert waits[:6] == [1, 2, 4, 8, 10, 10]
    assert waits[-1] == 10


def test_a_server_may_ask_for_a_longer_wait() -> None:
    """`after_seconds` is the minimum."""
    lane = _lane(1)
    lane.open()
    assert lane.feed(p.Failed(1, Kind.BUSY, after_seconds=300)) == [p.Wait(1, 300)]


@given(
    asked=st.floats(min_value=0, allow_nan=False),
    most=st.floats(min_value=0.1, max_value=3_600),
    kind=st.sampled_from([Kind.BUSY, Kind.OUTAGE, Kind.RETRY]),
    waits=st.integers(0, 40),
)
def test_a_wait_is_limited_by_the_setting(
    asked: float, most: float, kind: Kind, waits: int
) -> None:
    """A `Retry-After` may be a day, or 400 nines: the repository would not be built for so long."""
    policy = replace(_POLICY, retry_after_most_seconds=most, max_attempts=1_000)
    lane = _lane(1, policy=policy)
    lane.open()
    for _ in range(waits):
        lane.feed(p.Failed(1, kind))
        lane.feed(p.Due(1))
    (wait,) = lane.feed(p.Failed(1, kind, after_seconds=asked))
    assert isinstance(wait, p.Wait)
    back_off = max(policy.retry_most_seconds, policy.busy_most_seconds)
    assert min(asked, most) <= wait.seconds <= max(most, back_off)


@pytest.mark.parametrize("kind", [Kind.BUSY, Kind.OUTAGE])
def test_a_head_that_waited_long_is_released_with_its_followers(kind: Kind) -> None:
    """The tail is released first; the head, last, stays hidden.

    With each receive it stays hidden for twice as long, up to 15 minutes.
    """
    for received, hidden in [(1, 30), (2, 60), (4, 240), (9, 900), (1_000, 900)]:
        lane = _lane(2, received=received, policy=p.Policy(lookahead=1))
        lane.open()
        assert isinstance(lane.feed(p.Failed(1, kind, waited_seconds=3_599))[0], p.Wait)
        lane.feed(p.Due(1))
        given_back = lane.feed(p.Failed(1, kind, waited_seconds=3_600))
        assert given_back == [p.Release((2, 1), hidden), p.Close()]


def test_a_head_that_waited_long_and_cannot_be_released_is_dead_lettered() -> None:
    """The queue would dead-letter it without a reason, or drop it; those behind it go on."""
    lane = Lane([p.LaneMessage(1, returns=False), p.LaneMessage(2)], _POLICY)
    lane.open()
    lane.feed(p.Prepared(2))
    assert lane.feed(p.Failed(1, Kind.OUTAGE, waited_seconds=3_600)) == [p.SendDeadLetter(1, 0)]
    assert lane.feed(p.Settled(1)) == [p.Start(2)]


def test_a_follower_that_waited_long_waits_for_its_turn() -> None:
    """Only the head keeps a lane waiting."""
    lane = _lane(2)
    lane.open()
    assert lane.feed(p.Failed(2, Kind.BUSY, waited_seconds=10_000)) == [p.Wait(2, 1)]
    assert lane.feed(p.Prepared(1)) == [p.Start(1)]


def test_a_counted_attempt_is_never_a_wait() -> None:
    """Its limit is `max_attempts`."""
    lane = _lane(1)
    lane.open()
    assert lane.feed(p.Failed(1, Kind.RETRY, waited_seconds=10_000)) == [p.Wait(1, 1)]


def test_a_lane_that_gives_way_finishes_its_last_steps_first() -> None:
    """Builds being started are settled; other messages are released, hidden."""
    lane = _lane(3, policy=replace(_POLICY, retry_most_seconds=30))
    lane.open()
    lane.feed(p.Prepared(1))
    assert lane.feed(p.GiveWay()) == [p.Cancel(2), p.Cancel(3)]
    lane.feed(p.Dropped(2))
    lane.feed(p.Dropped(3))
    assert lane.feed(p.Started(1)) == [p.Delete(1)]
    assert lane.feed(p.Settled(1)) == [p.Release((3, 2), 30), p.Close()]


def test_a_lane_with_a_counted_attempt_does_not_give_way() -> None:
    """Only this process knows the attempt: after a release it would be forgotten."""
    lane = _lane(1)
    lane.open()
    assert lane.may_give_way
    lane.feed(p.Failed(1, Kind.RETRY))
    assert not lane.may_give_way
    assert not Lane([p.LaneMessage(1, yields=False)], _POLICY).may_give_way


def test_a_redelivered_group_is_prepared_one_by_one() -> None:
    """Only a message that is in preparation alone can be blamed for a death (I5)."""
    lane = _lane(3, received=2)
    assert lane.open() == [p.Prepare(1, suspect=True)]
    lane.feed(p.Prepared(1))
    lane.feed(p.Started(1))
    assert lane.feed(p.Settled(1)) == [p.Prepare(2, suspect=True)]


def test_stop_settles_what_can_be_and_releases_the_rest_tail_first() -> None:
    """Preparation behind a gap is cancelled."""
    lane = _lane(5)
    lane.open()
    lane.feed(p.Prepared(1))
    lane.feed(p.Failed(2, Kind.RETRY))
    assert lane.feed(p.Stop()) == [p.Cancel(3)]
    assert lane.feed(p.Dropped(3)) == []
    assert lane.feed(p.Started(1)) == [p.Delete(1)]
    assert lane.feed(p.Settled(1)) == [p.Release((5, 4, 3, 2)), p.Close()]


def test_stop_lets_a_prepared_sequence_go_on() -> None:
    """Builds up to the first gap are still started."""
    lane = _lane(4)
    lane.open()
    lane.feed(p.Prepared(2))
    assert lane.feed(p.Stop()) == []
    assert lane.feed(p.Prepared(1)) == [p.Start(1)]
    lane.feed(p.Started(1))
    assert lane.feed(p.Settled(1)) == [p.Start(2)]


def test_expire_lets_only_the_last_steps_finish() -> None:
    """A build being started is finished; nothing else begins."""
    lane = _lane(3)
    lane.open()
    lane.feed(p.Prepared(1))
    lane.feed(p.Prepared(2))
    assert lane.feed(p.Expire()) == [p.Cancel(3)]
    lane.feed(p.Prepared(3))
    assert lane.feed(p.Started(1)) == [p.Delete(1)]
    assert lane.feed(p.Settled(1)) == [p.Release((3, 2)), p.Close()]


def test_a_lost_lease_releases_nothing() -> None:
    """Another task may have received the messages (I4)."""
    lane = _lane(2)
    lane.open()
    lane.feed(p.Prepared(1))
    assert lane.feed(p.Lost()) == [p.Cancel(1), p.Cancel(2)]
    lane.feed(p.Dropped(2))
    assert lane.feed(p.Dropped(1)) == [p.Close()]


def test_a_delete_that_fails_is_tried_again() -> None:
    """The outcome is recorded; only the delete is repeated."""
    lane = _lane(1)
    lane.open()
    lane.feed(p.Prepared(1))
    lane.feed(p.Started(1))
    assert lane.feed(p.Failed(1, Kind.RETRY)) == [p.Wait(1, 1.0)]
    assert lane.feed(p.Due(1)) == [p.Delete(1)]


def test_a_fatal_error_releases_all_and_stops() -> None:
    """The service cannot work."""
    lane = _lane(2)
    lane.open()
    assert lane.feed(p.Failed(1, Kind.FATAL)) == [p.Cancel(2)]
    assert lane.feed(p.Dropped(2)) == [p.Release((2, 1)), p.Close()]


def test_superseded_pushes_are_recorded_in_order() -> None:
    """The newest push of a ref supersedes the older ones; other refs are not touched."""
    messages = [
        p.LaneMessage(1, ref="a"),
        p.LaneMessage(2, ref="b"),
        p.LaneMessage(3, ref="a"),
        p.LaneMessage(4, ref="a"),
    ]
    lane = Lane(messages, replace(_POLICY, skip_superseded=True))
    assert lane.open() == [p.Supersede(1, by=4), p.Prepare(2), p.Prepare(4)]
    lane.feed(p.Started(1))
    lane.feed(p.Prepared(4))
    lane.feed(p.Settled(1))
    lane.feed(p.Prepared(2))
    lane.feed(p.Started(2))
    assert lane.feed(p.Settled(2)) == [p.Supersede(3, by=4)]
    lane.feed(p.Started(3))
    assert lane.feed(p.Settled(3)) == [p.Start(4, covers=(1, 3))]


def test_messages_must_come_oldest_first() -> None:
    """Any other order would reverse pushes."""
    with pytest.raises(LaneBug):
        Lane([p.LaneMessage(2), p.LaneMessage(1)], _POLICY)


def test_an_event_after_the_end_of_its_lane_begins_nothing() -> None:
    """Prepared after the deadline: released. Started after the lease was lost: not deleted."""
    lane = _lane(1)
    lane.open()
    assert (lane.ending, lane.closed) == (False, False)
    assert lane.feed(p.Expire()) == [p.Cancel(1)]
    assert lane.ending
    assert lane.feed(p.Prepared(1)) == [p.Release((1,)), p.Close()]
    assert lane.closed
    lane = _lane(1)
    lane.open()
    assert lane.feed(p.Prepared(1)) == [p.Start(1)]
    assert lane.feed(p.Lost()) == [p.Cancel(1)]
    assert lane.feed(p.Started(1)) == [p.Close()]


def test_a_wait_that_ends_after_the_end_of_its_lane_is_ignored() -> None:
    """The waiting message was dropped meanwhile, and another is still being prepared."""
    lane = _lane(2)
    lane.open()
    assert lane.feed(p.Failed(1, Kind.RETRY, jitter=1.0)) == [p.Wait(1, 1.0)]
    assert lane.feed(p.Expire()) == [p.Cancel(2)]
    assert lane.feed(p.Due(1)) == []
    assert lane.states() == {1: p.State.DROPPED, 2: p.State.PREPARING}
    assert lane.feed(p.Dropped(2)) == [p.Release((2, 1)), p.Close()]


def test_a_start_that_fails_after_its_lane_gave_way_is_not_retried() -> None:
    """The message is released with the others, and hidden as long."""
    lane = _lane(2)
    lane.open()
    lane.feed(p.Prepared(1))
    assert lane.feed(p.GiveWay()) == [p.Cancel(2)]
    assert lane.ending
    assert lane.feed(p.Failed(1, Kind.BUSY)) == []
    assert lane.feed(p.Dropped(2)) == [p.Release((2, 1), 8), p.Close()]


def test_a_superseded_push_that_was_not_recorded_is_recorded_again() -> None:
    """The push is not built, however often recording fails."""
    lane = Lane([p.LaneMessage(1, ref="a"), p.LaneMessage(2), p.LaneMessage(3, ref="a")], _SKIPPING)
    assert lane.open() == [p.Supersede(1, by=3), p.Prepare(2), p.Prepare(3)]
    for _ in range(3):
        (wait,) = lane.feed(p.Failed(1, Kind.OUTAGE))
        assert isinstance(wait, p.Wait)
        assert lane.feed(p.Due(1)) == [p.Supersede(1, by=3)]
    assert lane.feed(p.Started(1)) == [p.Delete(1)]


@pytest.mark.parametrize("kind", [Kind.RETRY, Kind.BUSY, Kind.OUTAGE, Kind.REJECT])
def test_a_last_step_is_repeated_until_it_works(kind: Kind) -> None:
    """A recorded outcome counts no more attempts, and is neither rejected nor released."""
    for dead in (False, True):
        lane = _lane(1)
        lane.open()
        if dead:
            step: p.Command = p.SendDeadLetter(1, attempts=1)
            assert lane.feed(p.Failed(1, Kind.REJECT)) == [step]
        else:
            step = p.Delete(1)
            lane.feed(p.Prepared(1))
            assert lane.feed(p.Started(1)) == [step]
        for _ in range(4):
            (wait,) = lane.feed(p.Failed(1, kind, waited_seconds=10_000))
            assert isinstance(wait, p.Wait)
            assert lane.feed(p.Due(1)) == [step]
        assert lane.feed(p.Settled(1)) == [p.Close()]


@pytest.mark.parametrize("jitter", [0.0, 0.25, 1.0])
def test_waits_grow_to_their_maximum_with_jitter(jitter: float) -> None:
    """Jitter covers the upper half.

    A counted attempt waits up to 8 seconds here, a limit up to 10.
    """
    policy = replace(_POLICY, max_attempts=99)
    for kind, most in ((Kind.RETRY, 8), (Kind.BUSY, 10), (Kind.OUTAGE, 10)):
        lane = _lane(1, policy=policy)
        lane.open()
        for grown in (1, 2, 4, 8, most, most):
            expected = grown * (0.5 + jitter / 2)
            assert lane.feed(p.Failed(1, kind, jitter=jitter)) == [p.Wait(1, expected)]
            lane.feed(p.Due(1))
        lane.feed(p.Prepared(1))  # success resets the wait
        assert lane.feed(p.Failed(1, kind, jitter=1.0)) == [p.Wait(1, 1)]


def test_a_bug_names_the_event_and_the_state() -> None:
    """Bugs end the service, and its log is all that is left."""
    with pytest.raises(LaneBug, match=r"oldest first: \[2, 1\]"):
        Lane([p.LaneMessage(2), p.LaneMessage(1)], _POLICY)
    lane = _lane(4)
    lane.open()
    with pytest.raises(LaneBug, match=r"Prepared\(sequence=9\) is for a message that this lane"):
        lane.feed(p.Prepared(9))
    with pytest.raises(
        LaneBug, match=r"message 4 is waiting: Started\(.*4\) cannot make it settling"
    ):
        lane.feed(p.Started(4))


_EVENTS: list[Any] = [p.Prepared, p.Started, p.Settled, p.Due, p.Dropped]


@pytest.mark.parametrize("event", _EVENTS)
def test_an_unexpected_event_is_a_bug(event: Any) -> None:  # noqa: ANN401 - classes
    """A waiting message accepts no event, an unknown message none at all."""
    lane = _lane(4)
    lane.open()
    with pytest.raises(LaneBug):
        lane.feed(event(4))
    with pytest.raises(LaneBug):
        lane.feed(event(99))


def test_the_diagram_shows_every_edge_of_the_table() -> None:
    """The diagram is drawn from the table itself."""
    text = diagram()
    for (state, _), targets in TABLE.items():
        for target in targets - {state}:
            assert f"{state} --> {target}: " in text


class LaneMachine(RuleBasedStateMachine):
    """Feeds a lane any event that its runner may send, in any order, and checks the invariants."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: dict[int, p.Command] = {}
        self.waits: set[int] = set()
        self.cancelled: set[int] = set()
        self.started: list[int] = []
        self.settled: list[int] = []
        self.tries: dict[int, int] = {}
        self.released: tuple[int, ...] = ()
        self.rejected: set[int] = set()
        self.gave_up_waiting: set[int] = set()
        self.gave_way = False
        self.lost = self.stopped = self.expired = self.closed = False

    @initialize(
        count=st.integers(1, 10),
        lookahead=st.integers(1, 10),
        attempts=st.integers(1, 3),
        received=st.integers(1, 3),
        refs=st.lists(st.sampled_from([None, "a", "b"]), min_size=10, max_size=10),
        skip=st.booleans(),
        returns=st.booleans(),
    )
    def begin(
        self,
        count: int,
        lookahead: int,
        attempts: int,
        received: int,
        refs: list[str | None],
        skip: bool,  # noqa: FBT001 - hypothesis gives it
        returns: bool,  # noqa: FBT001 - hypothesis gives it
    ) -> None:
        """Open a lane of one to ten messages."""
        self.policy = p.Policy(lookahead, attempts, skip_superseded=skip)
        self.received = received
        self.returns = returns
        held = [p.LaneMessage(n, received, refs[n], returns=returns) for n in range(count)]
        self.lane = Lane(held, self.policy)
        self.count = count
        self._carry_out(self.lane.open())

    def _feed(self, event: p.Event) -> None:
        note(repr(event))
        self._carry_out(self.lane.feed(event))

    def _carry_out(self, commands: list[p.Command]) -> None:
        for command in commands:
            assert not self.closed, f"{command} after Close"
            match command:
                case p.Prepare(n):
                    assert not self.stopped
                    assert n not in self.under_way
                    self.under_way[n] = command
                case p.Start(n) | p.Supersede(n):
                    assert not self.lost  # I4
                    assert not self.expired
                    assert sorted(self.settled) == list(range(n))  # I2, I3
                    self.under_way[n] = command
                case p.Delete(n) | p.SendDeadLetter(n):
                    assert not self.lost  # I4
                    if isinstance(command, p.Delete):
                        assert n in self.started  # I1
                    else:  # I5
                        spent = self.tries.get(n, 0) >= self.policy.max_attempts
                        assert spent or n in self.rejected or n in self.gave_up_waiting
                    assert sorted(self.settled) == list(range(n))  # I3
                    self.under_way[n] = command
                case p.Wait(n, seconds):
                    assert seconds >= 0
                    self.waits.add(n)
                case p.Cancel(n):
                    assert n in self.under_way
                    assert n not in self.cancelled
                    self.cancelled.add(n)
                case p.Release(sequences, hidden_seconds):
                    assert not self.lost
                    assert not hidden_seconds or self.gave_way
                    assert not self.under_way
                    assert list(sequences) == sorted(sequences, reverse=True)
                    self.released = sequences
                case p.Close():
                    assert not self.under_way
                    self.closed = True

    @precondition(lambda self: self.under_way)
    @rule(
        data=st.data(),
        how=st.sampled_from(["well", "well", "well", "retry", "busy", "reject", "fatal"]),
    )
    def end_one(self, data: st.DataObject, how: str) -> None:
        """End an operation in progress, in a drawn way."""
        n = data.draw(st.sampled_from(sorted(self.under_way)))
        command = self.under_way.pop(n)
        if n in self.cancelled and data.draw(st.booleans()):
            self.cancelled.discard(n)
            self._feed(p.Dropped(n))
            return
        self.cancelled.discard(n)
        if how != "well":
            if how == "retry" and not isinstance(command, p.Delete | p.SendDeadLetter):
                self.tries[n] = self.tries.get(n, 0) + 1
                assert self.tries[n] <= self.policy.max_attempts  # I5
            self.stopped |= how == "fatal"
            if how == "reject":
                self.rejected.add(n)
            waited = data.draw(st.sampled_from([0.0, 0.0, 0.0, self.policy.longest_wait_seconds]))
            if how == "busy" and waited and not self.returns:
                self.gave_up_waiting.add(n)
            at_end = how == "busy" and waited and sorted(self.settled) == list(range(n))
            if at_end and self.returns and not isinstance(command, p.Delete | p.SendDeadLetter):
                self.stopped = self.gave_way = True
            self._feed(p.Failed(n, Kind(how), data.draw(st.floats(0, 1)), 0.0, waited))
            return
        match command:
            case p.Prepare():
                self._feed(p.Prepared(n))
            case p.Start() | p.Supersede():
                self.started.append(n)
                self._feed(p.Started(n))
            case _:
                self.settled.append(n)
                self._feed(p.Settled(n))

    @precondition(lambda self: self.waits and not self.closed)
    @rule(data=st.data())
    def ring(self, data: st.DataObject) -> None:
        """End a wait."""
        n = data.draw(st.sampled_from(sorted(self.waits)))
        self.waits.discard(n)
        self._feed(p.Due(n))

    @precondition(lambda self: not self.closed)
    @rule(
        event=st.sampled_from([p.Stop(), p.Stop(), p.Expire(), p.Lost(), p.GiveWay()]),
        now=st.integers(0, 9),
    )
    def interrupt(self, event: p.Event, now: int) -> None:
        """Send a signal, a deadline or a lost lease."""
        if now:  # rarely: most lanes run to their end
            return
        self.stopped = True
        self.expired |= isinstance(event, p.Expire | p.Lost | p.GiveWay)
        self.gave_way |= isinstance(event, p.GiveWay)
        self.lost |= isinstance(event, p.Lost)
        self._feed(event)

    @precondition(lambda self: self.closed)
    @rule()
    def rest(self) -> None:
        """Check that a closed lane sends no command."""
        assert self.lane.feed(p.Stop()) == []

    @invariant()
    def no_more_than_the_window(self) -> None:
        """Check that at most `lookahead` messages are prepared at once; one after a redelivery."""
        if not hasattr(self, "lane"):
            return
        preparing = [c for c in self.under_way.values() if isinstance(c, p.Prepare)]
        assert len(preparing) <= (1 if self.received > 1 else self.policy.lookahead)

    @invariant()
    def never_stuck(self) -> None:
        """Check that an open lane waits for something."""
        if hasattr(self, "lane") and not self.closed:
            assert self.under_way or self.waits, self.lane.states()

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """Check that a closed lane settled or released each message, unless the lease was lost."""
        if self.closed and not self.lost:
            assert sorted((*self.settled, *self.released)) == list(range(self.count))


TestLaneMachine = LaneMachine.TestCase
TestLaneMachine.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)


@given(st.integers(1, 10), st.integers(1, 10))
def test_every_lane_that_succeeds_ends(count: int, lookahead: int) -> None:
    """Answering every command well settles all messages in order."""
    lane = Lane([p.LaneMessage(n) for n in range(count)], p.Policy(lookahead))
    todo = lane.open()
    deleted = []
    while todo:
        command = todo.pop()  # the newest first: the worst order
        match command:
            case p.Prepare(n):
                todo += lane.feed(p.Prepared(n))
            case p.Start(n):
                todo += lane.feed(p.Started(n))
            case p.Delete(n):
                deleted.append(n)
                todo += lane.feed(p.Settled(n))
            case _:
                assert isinstance(command, p.Close)
    assert deleted == list(range(count))
    assert lane.closed
    assert lane.head == 0
