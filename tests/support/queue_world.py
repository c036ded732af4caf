"""A world in virtual time: processes with real lanes and leases, a queue, CodeBuild, the ledger.

What `queue/lane_runner.py` and `pushes/prepare.py` do between two awaits is a generator here; each
`Call` it yields is a request under way. Whoever drives it decides what becomes of the request: it
acts or not, and the answer comes or not. Servers check the invariants when they act, from their own
records.
"""

import math
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from support.sqs_model import FifoModel, Refused, Stored

from asyncbuild.builds.codebuild import TOKEN_TRUSTED_SECONDS
from asyncbuild.builds.poison import free_number
from asyncbuild.domain import model
from asyncbuild.domain.errors import Kind
from asyncbuild.domain.replication_lag import is_young, may_appear
from asyncbuild.domain.repository import Repository
from asyncbuild.queue.lane import protocol as p
from asyncbuild.queue.lane.capacity import LaneActivity, find_room, find_standing, held
from asyncbuild.queue.lane.lease_clock import Term
from asyncbuild.queue.lane.queue_facts import QueueFacts
from asyncbuild.queue.lane.state_machine import Lane

TOKEN_SECONDS = 300.0
VISIBILITY = 30
LAG_SECONDS = 180.0
RETENTION_SECONDS = 14 * 86_400
_REPOSITORY = Repository.of_codecommit("123456789012", "eu-west-1", "web")


class Failure(Exception):
    """A failed attempt, with the kinds of `asyncbuild.domain.errors`."""

    def __init__(self, kind: Kind, why: str = "") -> None:
        super().__init__(kind, why)
        self.kind = kind
        self.why = why


class LostLease(Exception):
    """A lost lease."""


class Death(Exception):
    """A push that kills the process which prepares it."""


@dataclass(slots=True)
class Call:
    """A request in progress: `act` is its effect at the server, `acted` its result."""

    act: Callable[[], Any]
    answer: Any = None
    failure: Exception | None = None
    acted: bool = False
    cut: bool = False

    def do(self) -> None:
        """Let the server act, once."""
        if self.acted or self.cut:
            return
        self.acted = True
        try:
            self.answer = self.act()
        except (Failure, LostLease, Refused) as error:
            self.failure = error


Steps = Generator[Call, Any, None]


@dataclass(slots=True)
class Op:
    """An operation of a lane in progress."""

    command: p.Command
    steps: Steps
    call: Call | None = None
    cancelled: bool = False


@dataclass
class Push:
    """Content of a message's body."""

    event: str
    ref: str

    @classmethod
    def of(cls, body: str) -> "Push":
        """Read a body: `event ref number`."""
        event, ref, _ = body.split()
        return cls(event, ref)

    @property
    def as_model(self) -> model.Push:
        """Return the push as the service has it; the event's id serves as the commit."""
        change = model.Change.UPDATED
        return model.Push(self.event, _REPOSITORY, self.ref, self.event, change, at(0))


def at(seconds: float) -> datetime:
    """Return the world's time `seconds` after its start."""
    return datetime.fromtimestamp(seconds, UTC)


class LaneSim:
    """One delivery of one group in one process."""

    def __init__(
        self, process: "Process", messages: list[Stored], *, asked_at: float, policy: p.Policy
    ) -> None:
        self.world = process.world
        self.process = process
        self.messages = {each.sequence: each for each in messages}
        self.handles = {each.sequence: str(each.handle) for each in messages}
        self.receives = {each.sequence: each.receives for each in messages}
        self.pushes = {each.sequence: Push.of(each.body) for each in messages}
        self.held = set(self.messages)
        self.doubtful: set[int] = set()
        self.term = Term(asked_at=asked_at, visibility_seconds=VISIBILITY)
        self.policy = policy
        self.ops: dict[int, Op] = {}
        self.waits: dict[int, float] = {}
        self.undone: dict[int, bool] = {}
        self.stale: set[int] = set()
        self.first_starts: dict[int, float] = {}
        self.failures: dict[int, Failure] = {}
        self.buried: set[int] = set()
        self.spent: Counter[int] = Counter()
        self.failing_since: dict[int, float] = {}
        self.told_lost = False
        self.items = {
            n: held(
                n,
                receive_count=self.receives[n],
                ref=self.pushes[n].ref,
                age_seconds=self.world.now - each.sent,
                facts=QueueFacts(
                    fifo=True,
                    visibility_timeout_seconds=30,
                    max_receive_count=self.world.max_receive_count,
                    dead_letter_arn=None,
                    retention_seconds=RETENTION_SECONDS,
                ),
            )
            for n, each in self.messages.items()
        }
        self.lane = Lane(list(self.items.values()), policy)

    @property
    def group(self) -> str:
        """Return the message group."""
        return next(iter(self.messages.values())).group

    def standing(self) -> LaneActivity:
        """Return the standing like `LaneRunner.standing`; consumers are never short here."""
        if self.ops or self.lane.ending:
            return LaneActivity()
        return find_standing(
            self.lane.states(),
            held_back=(),
            blocked_seconds=0,
            may_give_way=self.lane.may_give_way,
            policy=self.policy,
        )

    def finish(self) -> None:
        """End all that was cancelled."""
        while self.ops:
            self.step(next(iter(self.ops)))

    # --- the machine and its commands -------------------------------------------------------------

    def open(self) -> None:
        """Open the lane."""
        self._carry_out(self.lane.open())

    def feed(self, event: p.Event) -> None:
        """Feed an event to the lane; carry out its commands."""
        if not self.lane.closed:
            self._carry_out(self.lane.feed(event))

    def lose(self) -> None:
        """Lose the lease like the renewer."""
        self.term.lose()
        if not self.told_lost:
            self.told_lost = True
            self.feed(p.Lost())

    def _carry_out(self, commands: list[p.Command]) -> None:  # noqa: C901 - a plain table
        for command in commands:
            match command:
                case p.Prepare(n, suspect):
                    self._begin(n, command, self._prepare(n, suspect=suspect))
                case p.Start(n):
                    self._begin(n, command, self._start(n))
                case p.Supersede(n):
                    self._begin(n, command, self._supersede(n))
                case p.Delete(n):
                    self._begin(n, command, self._delete(n))
                case p.SendDeadLetter(n):
                    self._begin(n, command, self._bury(n))
                case p.Wait(n, seconds):
                    self.waits[n] = self.world.now + seconds
                case p.Cancel(n):
                    self.ops[n].cancelled = True
                    self.world.cut(self.ops[n])
                case p.Release(sequences, hidden_seconds):
                    self._release(sequences, hidden_seconds)
                case p.Close():
                    assert not self.ops
                    self.process.lanes.remove(self)

    def _begin(self, n: int, command: p.Command, steps: Steps) -> None:
        assert n not in self.ops
        self.ops[n] = Op(command, steps)

    def _release(self, sequences: tuple[int, ...], hidden_seconds: float) -> None:
        hidden = self.term.limit(hidden_seconds, self.world.now) if hidden_seconds else 0
        for n in sequences:
            if self.world.chance(0.1):
                return  # the call failed: the rest becomes visible when its time-out ends
            try:
                self.world.queue.change(self.handles[n], hidden if n == sequences[-1] else 0)
            except Refused:
                assert n in self.doubtful or self.world.now >= self.term.ends_at

    # --- operations in progress -------------------------------------------------------------------

    def _guard(self) -> None:
        if self.term.is_over(self.world.now):
            raise LostLease

    def _prepare(self, n: int, *, suspect: bool) -> Steps:
        world, message, push = self.world, self.messages[n], self.pushes[n]
        number, alone = 0, False
        if suspect:
            died = yield Call(lambda: frozenset(world.tries[message.id]))
            if len(died) >= self.policy.max_attempts:
                raise Failure(Kind.REJECT, "deaths")
            number, alone = free_number(died), len(died) + 1 >= self.policy.max_attempts
        try:
            while not self.process.enter(self, n, alone=alone):
                yield Call(lambda: None)
        except BaseException:
            self.process.give_up_waiting(self, n)
            raise
        try:
            if suspect:
                yield Call(lambda: world.tries[message.id].add(number))
            done = yield Call(lambda: push.event in world.ledger)
            if push.event in world.poisons and not done:
                self.process.dead = True
                raise Death
            if push.event in world.doomed:
                raise Failure(Kind.REJECT, "doomed")
            if not done:
                yield from self._archive(n)
            self.undone[n] = not done
        finally:
            self.process.leave(self, n)
            # A killed process cleans up nothing: the generator is dropped with `process.dead` set.
            if suspect and not self.process.dead:
                world.tries[message.id].discard(number)

    def _archive(self, n: int) -> Steps:
        if self.group in self.world.away:
            yield Call(lambda: None)
            raise Failure(Kind.OUTAGE, "away")
        if not (yield Call(lambda: self.world.shows(self.pushes[n]))):
            self._explain_missing(n)
            self.stale.add(n)
            return
        self._guard()
        yield Call(lambda: self.world.put_object(self, n))

    def _explain_missing(self, n: int) -> None:
        """Return if the push is stale, and fail otherwise, like `pushes/missing_commit.py`."""
        push, now = self.pushes[n], at(self.world.now)
        sent = at(self.messages[n].sent)
        later = [each.as_model for m, each in self.pushes.items() if m > n]
        tip = self.world.tip(push)
        young = is_young(push.as_model, sent=sent, now=now, seconds=LAG_SECONDS)
        if young and may_appear(push.as_model, tip=tip, later=later):
            raise Failure(Kind.BUSY, "late")

    def _start(self, n: int) -> Steps:
        world, push = self.world, self.pushes[n]
        waited = world.now - self.first_starts.setdefault(n, world.now)
        if any(each.event == push.event for m, each in self.pushes.items() if m < n):
            waited = math.inf
        undone = self.undone[n]
        doubtful = waited > TOKEN_TRUSTED_SECONDS
        if waited and undone:
            undone = not (yield Call(lambda: push.event in world.ledger))
        if undone and n in self.stale:
            self._guard()
            yield Call(lambda: world.record(self, n, "stale"))
        elif undone:
            found = False
            if doubtful or self.receives[n] > 1:
                found = yield Call(lambda: push.event in world.builds)
            if not found:
                self._guard()
                yield Call(lambda: world.start_build(self, n))
            self._guard()
            yield Call(lambda: world.record(self, n, "built"))

    def _supersede(self, n: int) -> Steps:
        self._guard()
        yield Call(lambda: self.world.record(self, n, "superseded"))

    def _bury(self, n: int) -> Steps:
        if n not in self.buried:
            self._guard()
            yield Call(lambda: self.world.dead_letter(self, n))
            self.buried.add(n)
        yield Call(lambda: None)  # the ledger's record of it
        yield from self._delete(n)

    def _delete(self, n: int) -> Steps:
        self._guard()
        self.held.discard(n)
        try:
            yield Call(lambda: self.world.delete(self, n))
        except BaseException:
            self.held.add(n)
            self.doubtful.add(n)
            raise

    # --- steps ------------------------------------------------------------------------------------

    def step(self, n: int, *, well: bool = True) -> None:
        """Let the operation of `n` take its next step: its request is answered, or not."""
        op = self.ops[n]
        try:
            self._go_on(op, well=well)
        except StopIteration:
            self._end(n, None)
        except (Failure, LostLease, Refused) as error:
            self._end(n, error)
        except Death:
            self.process.die(because_of=self.messages[n].id)

    def _go_on(self, op: Op, *, well: bool) -> None:
        call, op.call = op.call, None
        if op.cancelled:
            op.steps.close()
            raise StopIteration
        if call is None:
            op.call = next(op.steps)
            return
        if not well:
            if self.world.chance(0.5):
                call.do()  # the server acted, and the answer is lost
            kind = self.world.random.choice([Kind.RETRY, Kind.BUSY])
            op.call = op.steps.throw(Failure(kind))
            return
        if call.cut and not call.acted:
            op.call = op.steps.throw(Failure(Kind.RETRY))
            return
        call.do()
        if call.failure is not None:
            op.call = op.steps.throw(call.failure)
        else:
            op.call = op.steps.send(call.answer)

    def _end(self, n: int, error: Exception | None) -> None:
        op = self.ops.pop(n)
        if op.cancelled:
            self.feed(p.Dropped(n))
            return
        match error:
            case LostLease() | Refused():
                self.feed(p.Failed(n, Kind.BUSY))
                self.lose()
            case Failure():
                if self.lane.states()[n] is not p.State.BURYING:
                    self.failures[n] = error
                self.spent[n] += error.kind is Kind.RETRY
                waited = 0.0
                if error.kind in {Kind.BUSY, Kind.OUTAGE}:
                    waited = self.world.now - self.failing_since.setdefault(n, self.world.now)
                self.feed(p.Failed(n, error.kind, self.world.random.random(), 0.0, waited))
            case _:
                self.failing_since.pop(n, None)
                self.feed(_well(op.command, n))

    # --- time -------------------------------------------------------------------------------------

    def next_timer(self) -> float:
        """Return the time of this lane's next timer."""
        renewal = math.inf if self.told_lost else self.term.wakes_at
        return min([*self.waits.values(), renewal])

    def on_time(self) -> None:
        """Fire the timers that are due."""
        now = self.world.now
        for n in [n for n, due in self.waits.items() if due <= now]:
            del self.waits[n]
            self.feed(p.Due(n))
        if self.lane.closed or self.told_lost or now < self.term.wakes_at:
            return
        if not self.term.is_over(now):
            self._renew()
        if self.term.is_over(now):
            self.lose()
            self.finish()  # the margin ends before another process can receive

    def _renew(self) -> None:
        world = self.world
        if self.process.cut_off or not self.held:
            self.term.not_renewed(world.now)
            return
        seconds = self.term.renewal_seconds(world.now)
        for n in sorted(self.held):
            try:
                world.queue.change(self.handles[n], seconds)
            except Refused:
                if n in self.doubtful:
                    self.held.discard(n)
                else:
                    self.term.lose()
        self.term.renewed(sent_at=world.now, seconds=seconds)


def _well(command: p.Command, n: int) -> p.Event:
    match command:
        case p.Prepare():
            return p.Prepared(n)
        case p.Start() | p.Supersede():
            return p.Started(n)
        case _:
            return p.Settled(n)


@dataclass(eq=False)
class Process:
    """One service process."""

    world: "World"
    policy: p.Policy
    lanes: list[LaneSim] = field(default_factory=list)
    most: int = 64  # `lanes.most`
    stopping: bool = False
    cut_off: bool = False  # renewals fail
    frozen: bool = False  # no step is taken, no timer rings
    dead: bool = False
    _inside: set[tuple[int, int]] = field(default_factory=set)
    _alone: tuple[int, int] | None = None
    _waiting: tuple[int, int] | None = None

    def receive(self, most: int, *, answered: bool = True) -> None:
        """Receive once, if there is room.

        Without an answer the messages stay invisible without a receiver.
        """
        if self.stopping or self.frozen:
            return
        room = find_room([lane.standing() for lane in self.lanes], most=self.most)
        if room.gives_way is not None:
            self.lanes[room.gives_way].feed(p.GiveWay())
        if not room.free:
            return
        groups: dict[str, list[Stored]] = {}
        for each in self.world.queue.receive(most, VISIBILITY):
            groups.setdefault(each.group, []).append(each)
        for group, messages in groups.items() if answered else ():
            for older in [lane for lane in self.lanes if lane.group == group]:
                older.lose()
                older.finish()
            lane = LaneSim(self, messages, asked_at=self.world.now, policy=self.policy)
            self.lanes.append(lane)
            lane.open()

    def die(self, *, because_of: str | None = None) -> None:
        """Kill the process: requests in progress act or not, nothing is cleaned up."""
        self.dead = True
        inside = self.note_deaths()
        if because_of is not None:
            self.world.deaths[because_of] += 1
            self.world.lonely_deaths[because_of] += not inside
        for lane in self.lanes:
            for op in lane.ops.values():
                self.world.cut(op)
                op.steps.close()
        self.world.processes[self.world.processes.index(self)] = Process(
            self.world, self.policy, most=self.most
        )

    def note_deaths(self) -> list[tuple[LaneSim, int]]:
        """Count a death, real or apparent, for each message in preparation here."""
        inside = [(lane, n) for lane in self.lanes for n in lane.ops if self.has_inside(lane, n)]
        for lane, n in inside:
            id_ = lane.messages[n].id
            self.world.deaths[id_] += 1
            self.world.lonely_deaths[id_] += len(inside) == 1
        return inside

    # --- the room of builds/tries.py --------------------------------------------------------------

    def enter(self, lane: LaneSim, n: int, *, alone: bool) -> bool:
        """Return whether a preparation may begin: many at once, or one alone."""
        me = (id(lane), n)
        if self._alone is not None or self._waiting not in {None, me}:
            return False
        if alone and self._inside:
            self._waiting = me
            return False
        self._waiting = None
        if alone:
            self._alone = me
        self._inside.add(me)
        return True

    def leave(self, lane: LaneSim, n: int) -> None:
        """End a preparation."""
        me = (id(lane), n)
        self._inside.discard(me)
        if self._alone == me:
            self._alone = None

    def give_up_waiting(self, lane: LaneSim, n: int) -> None:
        """Cancel a preparation that waits to run alone."""
        if self._waiting == (id(lane), n):
            self._waiting = None

    def has_inside(self, lane: LaneSim, n: int) -> bool:
        """Return whether the message is in preparation."""
        return (id(lane), n) in self._inside


class World:
    """Servers, clock and processes."""

    def __init__(
        self,
        *,
        processes: int,
        policy: p.Policy,
        seed: int,
        whole_lock: bool,
        most: int = 64,
        max_receive_count: int | None = None,
    ) -> None:
        self.max_receive_count = max_receive_count
        self.away: set[str] = set()  # groups whose git server is unreachable
        self.queue = FifoModel(locks_whole_group=whole_lock)
        self.random = Random(seed)  # noqa: S311 - repeatable, not secret
        self.objects: set[str] = set()
        self.builds: dict[str, float] = {}
        self.ledger: dict[str, str] = {}
        self.tries: dict[str, set[int]] = _Sets()
        self.dead: dict[str, Push] = {}
        self.sent: list[Push] = []
        self.poisons: set[str] = set()
        self.doomed: set[str] = set()
        self.shown_at: dict[str, float] = {}  # event → time at which the git server shows it
        self.pushed_away: set[str] = set()  # absent from history once the next push is shown
        self.deaths: Counter[str] = Counter()
        self.lonely_deaths: Counter[str] = Counter()
        self.at_limit = False
        self.throttled = False
        self.processes = [Process(self, policy, most=most) for _ in range(processes)]

    @property
    def now(self) -> float:
        """Return the time of the one clock."""
        return self.queue.now

    def chance(self, probability: float) -> bool:
        """Draw whether a random event happens."""
        return self.random.random() < probability

    def send(self, group: str, push: Push, *, lag: float = 0, pushed_away: bool = False) -> None:
        """Send a message for `push`; equal events may be sent twice.

        Args:
            group: The message group.
            push: What the message says.
            lag: So much later the git server shows the push, and never before an older one.
            pushed_away: The next push of the ref leaves it out of the history.
        """
        self.sent.append(push)
        if push.event not in self.shown_at:
            shown = [self.shown_at[event] for event in self._events_of(push)]
            self.shown_at[push.event] = max([self.now + lag, *shown])
        if pushed_away:
            self.pushed_away.add(push.event)
        self.queue.send(f"{push.event} {push.ref} {len(self.sent)}", group)

    # --- the git server ---------------------------------------------------------------------------

    def _events_of(self, push: Push) -> list[str]:
        """Return pushes of the same ref and repository whose time is known, oldest first."""
        same = (p.event for p in self.sent if (p.event[0], p.ref) == (push.event[0], push.ref))
        return [event for event in dict.fromkeys(same) if event in self.shown_at]

    def tip(self, push: Push) -> str:
        """Return the event at which the git server shows the ref; empty if it shows none."""
        shown = [each for each in self._events_of(push) if self.shown_at[each] <= self.now]
        return shown[-1] if shown else ""

    def shows(self, push: Push) -> bool:
        """Return whether the push's commit is the ref's tip, or in its history."""
        shown = self.shown_at[push.event] <= self.now
        return shown and (push.event not in self.pushed_away or self.tip(push) == push.event)

    # --- actions of the servers, and their checks -------------------------------------------------

    def _is_held(self, lane: LaneSim, n: int) -> None:
        """Check that a commit's message is held, by the queue's own record (I4)."""
        assert self.queue.holds(lane.handles[n]), f"{n} was committed after its lease was lost"

    def _is_head(self, lane: LaneSim, n: int) -> None:
        """Check that nothing older of the group is left in the queue (I2, I3)."""
        group = lane.messages[n].group
        older = [m.sequence for m in self.queue.messages if m.group == group and m.sequence < n]
        assert not older, f"{n} goes before {older}"

    def put_object(self, lane: LaneSim, n: int) -> None:
        """Store the archive."""
        self._is_held(lane, n)
        self.objects.add(lane.pushes[n].event)

    def start_build(self, lane: LaneSim, n: int) -> None:
        """Start a build with a token."""
        event = lane.pushes[n].event
        if event in self.builds and self.now - self.builds[event] < TOKEN_SECONDS:
            return
        if self.at_limit or self.throttled:
            raise Failure(Kind.BUSY)
        self._is_held(lane, n)
        self._is_head(lane, n)
        assert event in self.objects
        # A dead-lettered push whose answers were all lost may have its build; its duplicate cannot
        # know that.
        buried = any(push.event == event for push in self.dead.values())
        assert event not in self.builds or buried, f"{event} was built before (I12)"
        self.builds[event] = self.now

    def record(self, lane: LaneSim, n: int, verdict: str) -> None:
        """Write the ledger's record, once."""
        self._is_held(lane, n)
        self._is_head(lane, n)
        event = lane.pushes[n].event
        assert verdict != "built" or event in self.builds
        if verdict == "stale":  # a push that the server may still show must not be stale
            age = self.now - lane.messages[n].sent
            assert event in self.pushed_away or age >= LAG_SECONDS, f"{event} was lost"
        self.ledger.setdefault(event, verdict)

    def dead_letter(self, lane: LaneSim, n: int) -> None:
        """Move a message to the dead-letter queue, for a reason of its own (I5)."""
        self._is_held(lane, n)
        self._is_head(lane, n)
        message, push, failure = lane.messages[n], lane.pushes[n], lane.failures[n]
        most = lane.policy.max_attempts
        match failure.why:
            case "doomed":
                assert push.event in self.doomed
            case "deaths":
                assert self.deaths[message.id] >= most
                assert self.lonely_deaths[message.id] >= 1
            case _ if failure.kind in {Kind.BUSY, Kind.OUTAGE}:
                assert not lane.items[n].returns
                waited = self.now - lane.failing_since[n]
                assert waited >= lane.policy.longest_wait_seconds
            case _:
                assert lane.spent[n] >= most
        self.dead[message.id] = push

    def delete(self, lane: LaneSim, n: int) -> None:
        """Delete a message whose outcome is recorded (I1)."""
        message, push = lane.messages[n], lane.pushes[n]
        assert push.event in self.ledger or message.id in self.dead
        if any(each is message for each in self.queue.messages):
            self._is_head(lane, n)
        self.queue.delete(lane.handles[n])

    # --- events of the world ----------------------------------------------------------------------

    def cut(self, op: Op) -> None:
        """Cut the connection of an operation: its request has arrived, or never will."""
        if op.call is not None:
            if self.chance(0.5):
                op.call.do()
            op.call.cut = True

    def freeze(self, process: Process) -> None:
        """Stop a process for a while: its requests arrive now or never.

        If that outlasts the leases, it looks dead to the others, with its marks in the ledger.
        """
        process.frozen = True
        process.note_deaths()
        for lane in process.lanes:
            for op in lane.ops.values():
                self.cut(op)

    def advance(self, seconds: float) -> None:
        """Advance the time; timers fire on time, except in frozen processes."""
        end = self.now + seconds
        while True:
            lanes = [lane for each in self.processes if not each.frozen for lane in each.lanes]
            for lane in lanes:
                if lane.told_lost:
                    lane.finish()
            due = min((lane.next_timer() for lane in lanes), default=math.inf)
            if due > end:
                self.queue.now = end
                return
            self.queue.now = max(self.now, due)
            for lane in lanes:
                if lane.next_timer() <= self.now:
                    lane.on_time()

    def settle(self) -> None:
        """Work without further faults until nothing is left."""
        self.at_limit = self.throttled = False
        self.away.clear()
        for process in self.processes:
            process.frozen = process.cut_off = False
        for _ in range(2_000 + 50 * len(self.sent)):
            for process in list(self.processes):
                process.stopping = process.stopping and bool(process.lanes)
                process.receive(10)
                for lane in list(process.lanes):
                    for n in list(lane.ops):
                        if n in lane.ops and not process.dead:
                            lane.step(n)
            self.advance(
                0 if any(lane.ops for each in self.processes for lane in each.lanes) else 5
            )
            if not self.queue.messages and not any(each.lanes for each in self.processes):
                return
        msg = f"stuck: {self.queue.messages[:3]}"
        raise AssertionError(msg)


class _Sets(dict[str, set[int]]):
    def __missing__(self, key: str) -> set[int]:
        self[key] = set()
        return self[key]
