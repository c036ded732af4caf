"""Order inside one message group: a state machine without I/O and without a clock.

A lane is one delivery of one group: the messages held, oldest first. Its rules:

1.  The first `lookahead` unsettled messages may be prepared at the same time, each on its own.
2.  A build is started for the head only: the oldest message that is not settled (I2). A message is
    deleted or dead-lettered when it is the head, never earlier, so that nothing newer is settled
    before it (I3).
3.  A try that fails with `retry` is tried again in place after a growing, jittered wait; with
    `busy` or `outage` the same, but nothing is counted (I5); with `reject`, or when its attempts
    are spent, the message is dead-lettered and the next one becomes the head.
4.  Followers keep what was prepared for them, whatever the outcome of the head.
5.  A delivery whose head was received before works on one message at a time: a process that dies
    cannot report which message killed it, so only the message in flight may be blamed.
6.  A head that has waited for others for longer than `longest_wait_seconds` is not held any more:
    the whole lane is released, to be delivered again after a while, or the head is dead-lettered
    if the queue would not deliver it again. `GiveWay` releases a lane in the same way.
7.  `Stop` lets what can still be settled in order be settled, and drops the rest; `Expire` drops
    all that is not being started or settled; `Lost` drops everything and releases nothing (I4).
8.  Dropped messages are released once nothing is under way any more: tail first, head last, so
    that the group opens in order.

Events come in by `feed`, commands come out; the runner carries them out. A pair of state and event
that the table does not have is a bug of the runner and raises.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asyncbuild.domain.errors import Kind
from asyncbuild.queue.lane.back_off import hidden_seconds, pause_seconds
from asyncbuild.queue.lane.protocol import (
    Cancel,
    Close,
    Command,
    Delete,
    Dropped,
    Due,
    Event,
    Expire,
    Failed,
    GiveWay,
    LaneMessage,
    Lost,
    OfOne,
    Policy,
    Prepare,
    Prepared,
    Release,
    SendDeadLetter,
    Settled,
    Start,
    Started,
    State,
    Stop,
    Supersede,
    Wait,
)
from asyncbuild.queue.lane.transitions import ON_THE_LAST_STEP, RESUME, TABLE, UNDER_WAY


class LaneBug(RuntimeError):
    """An event has no transition from the message's state."""


@dataclass(slots=True)
class _Item:
    held: LaneMessage
    state: State = State.WAITING
    resume: State = State.WAITING
    attempts: int = 0
    waits: int = 0
    by: int | None = None
    covers: tuple[int, ...] = ()
    cancelled: bool = False

    @property
    def sequence(self) -> int:
        return self.held.sequence


class Lane:
    """State machine of one lane. Call `open` first, then `feed` with one event at a time."""

    def __init__(self, messages: Sequence[LaneMessage], policy: Policy) -> None:
        self._items = {held.sequence: _Item(held) for held in messages}
        if list(self._items) != sorted(self._items) or len(self._items) != len(messages):
            msg = f"a lane wants its messages oldest first: {[m.sequence for m in messages]}"
            raise LaneBug(msg)
        self._policy = policy
        self._stopping = False  # begin nothing new
        self._giving_up = False  # do not continue prepared messages either
        self._lost = False
        self._closed = False
        self._hidden_seconds = 0.0
        if policy.skip_superseded:
            self._find_superseded()

    @property
    def closed(self) -> bool:
        """True once no message is held any more."""
        return self._closed

    @property
    def ending(self) -> bool:
        """True once nothing new is begun."""
        return self._stopping

    @property
    def head(self) -> int:
        """Sequence number of the oldest message that is not settled; 0 if all are."""
        head = self._head()
        return head.sequence if head is not None else 0

    @property
    def may_give_way(self) -> bool:
        """True if a release now would forget no counted attempt."""
        head = self._head()
        return head is not None and head.held.yields and not head.attempts and not self._stopping

    def states(self) -> dict[int, State]:
        """Return the state of every message, by sequence number."""
        return {item.sequence: item.state for item in self._items.values()}

    def open(self) -> list[Command]:
        """Return the first commands."""
        return self._advance()

    def feed(self, event: Event) -> list[Command]:
        """Process one event; return the commands that follow.

        Raises:
            LaneBug: The message's state has no transition for this event.
        """
        match event:
            case Stop():
                self._stopping = True
                return self._advance()
            case Expire():
                self._stopping = self._giving_up = True
                return [*self._drop(self._open_items(but=ON_THE_LAST_STEP)), *self._advance()]
            case Lost():
                self._stopping = self._giving_up = self._lost = True
                return [*self._drop(self._open_items()), *self._advance()]
            case GiveWay():
                return [*self._give_way(), *self._advance()]
            case _:
                return [*self._feed_one(event), *self._advance()]

    def _feed_one(self, event: OfOne) -> list[Command]:
        item = self._items.get(event.sequence)
        if item is None:
            msg = f"{event} is for a message that this lane does not hold"
            raise LaneBug(msg)
        match event:
            case Prepared():
                item.waits = 0
                self._move(item, event, State.DROPPED if self._giving_up else State.PREPARED)
            case Started():
                item.waits = 0
                self._move(item, event, State.DROPPED if self._lost else State.SETTLING)
                return [] if self._lost else [Delete(item.sequence)]
            case Settled():
                self._move(item, event, State.SETTLED)
            case Dropped():
                self._move(item, event, State.DROPPED)
            case Failed():
                return self._fail(item, event)
            case Due():
                return self._resume(item, event)
        return []

    def _fail(self, item: _Item, event: Failed) -> list[Command]:
        if event.kind is Kind.FATAL:
            self._stopping = True
        last_step = item.state in {State.SETTLING, State.BURYING}
        counts = event.kind.counts and not last_step and not self._lost
        item.attempts += counts
        if counts and (event.kind is Kind.REJECT or item.attempts >= self._policy.max_attempts):
            self._move(item, event, State.FAILED)
            return []
        if self._stopping:
            self._move(item, event, State.DROPPED)
            return []
        if not last_step and self._has_waited(item, event):
            self._move(item, event, State.DROPPED if item.held.returns else State.FAILED)
            return self._give_way() if item.held.returns else []
        item.resume = RESUME[item.state]
        item.waits += 1
        self._move(item, event, State.PAUSED)
        return [Wait(item.sequence, pause_seconds(self._policy, event, waits=item.waits))]

    def _has_waited(self, item: _Item, event: Failed) -> bool:
        """Return whether the head has waited too long; followers wait for it in any case."""
        long = event.waited_seconds >= self._policy.longest_wait_seconds
        return event.kind.is_waited_out and long and item is self._head()

    def _give_way(self) -> list[Command]:
        """Drop messages that are not on their last step; hide them for twice as long each time."""
        self._stopping = self._giving_up = True
        head = self._head()
        if head is not None:
            count = head.held.receive_count
            self._hidden_seconds = hidden_seconds(self._policy, receive_count=count)
        return self._drop(self._open_items(but=ON_THE_LAST_STEP))

    def _resume(self, item: _Item, event: Due) -> list[Command]:
        if item.state is State.DROPPED:
            self._move(item, event, State.DROPPED)
            return []
        self._move(item, event, item.resume)
        return [Delete(item.sequence)] if item.state is State.SETTLING else []

    def _advance(self) -> list[Command]:
        """Return commands for everything that has become possible."""
        if self._closed:
            return []
        commands = self._drop(self._beyond_reach()) if self._stopping else []
        unsettled = [item for item in self._items.values() if item.state is not State.SETTLED]
        if unsettled:
            commands += self._advance_head(unsettled[0])
        if not self._stopping:
            commands += self._fill_window(unsettled)
        if all(item.state is State.DROPPED for item in unsettled):
            self._closed = True
            if unsettled and not self._lost:
                sequences = tuple(item.sequence for item in reversed(unsettled))
                commands.append(Release(sequences, self._hidden_seconds))
            commands.append(Close())
        return commands

    def _advance_head(self, head: _Item) -> list[Command]:
        if head.state is State.FAILED:
            self._move(head, None, State.BURYING)
            return [SendDeadLetter(head.sequence, head.attempts)]
        if head.state is State.PREPARED:
            self._move(head, None, State.STARTING)
            return [self._supersede(head) or Start(head.sequence, head.covers)]
        if head.state is State.WAITING and head.by is not None:
            self._move(head, None, State.STARTING)
            return [Supersede(head.sequence, head.by)]
        return []

    def _supersede(self, head: _Item) -> Command | None:
        """Return the command for a superseded head, prepared since recording it failed before."""
        return None if head.by is None else Supersede(head.sequence, head.by)

    def _fill_window(self, unsettled: Sequence[_Item]) -> list[Command]:
        commands: list[Command] = []
        suspect = bool(unsettled) and unsettled[0].held.receive_count > 1
        wanted = [item for item in unsettled if item.by is None][: self._policy.lookahead]
        for item in unsettled[:1] if suspect else wanted:
            if item.state is State.WAITING and item.by is None:
                self._move(item, None, State.PREPARING)
                commands.append(Prepare(item.sequence, suspect))
        return commands

    def _beyond_reach(self) -> list[_Item]:
        """Return the messages that cannot be settled in order unless something new is begun."""
        unsettled = self._open_items()
        stuck = (State.WAITING, State.PAUSED, State.DROPPED)
        first = next((n for n, item in enumerate(unsettled) if item.state in stuck), len(unsettled))
        return unsettled[first:]

    def _drop(self, items: Iterable[_Item]) -> list[Command]:
        commands: list[Command] = []
        for item in items:
            if item.state in UNDER_WAY and not item.cancelled:
                item.cancelled = True
                commands.append(Cancel(item.sequence))
            elif item.state not in UNDER_WAY and item.state is not State.DROPPED:
                self._move(item, None, State.DROPPED)
        return commands

    def _head(self) -> _Item | None:
        items = self._items.values()
        return next((item for item in items if item.state is not State.SETTLED), None)

    def _open_items(self, *, but: frozenset[State] = frozenset()) -> list[_Item]:
        gone = but | {State.SETTLED}
        return [item for item in self._items.values() if item.state not in gone]

    def _find_superseded(self) -> None:
        newest: dict[str, _Item] = {}
        for item in reversed(self._items.values()):
            ref = item.held.ref
            if ref is None:
                continue
            if ref in newest:
                item.by = newest[ref].sequence
                newest[ref].covers = (item.sequence, *newest[ref].covers)
            else:
                newest[ref] = item

    def _move(self, item: _Item, event: OfOne | None, to: State) -> None:
        allowed = TABLE.get((item.state, type(event) if event else None), frozenset())
        if to not in allowed:
            msg = f"message {item.sequence} is {item.state}: {event} cannot make it {to}"
            raise LaneBug(msg)
        item.state = to
