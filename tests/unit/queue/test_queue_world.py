"""Lanes, leases, queue, ledger and CodeBuild together, in virtual time, with random faults.

`ASYNCBUILD_WORLD_EXAMPLES` sets how many worlds are tried; `make chaos` asks for 5,000.
"""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support.queue_world import LaneSim, Process, Push, World

from asyncbuild.queue.lane import protocol as p

_EXAMPLES = int(os.environ.get("ASYNCBUILD_WORLD_EXAMPLES", "100"))
_STEPS = 100 if _EXAMPLES >= 1_000 else 60


_NUMBER = st.integers(0, 2)
_SECONDS = st.sampled_from([0.5, 5, 9, 10, 20, 31, 61, 240, 331, 600])


class QueueWorld(RuleBasedStateMachine):
    """I1 to I5 and I12 are checked by the world's servers each time they act."""

    @initialize(
        processes=st.integers(1, 3),
        lookahead=st.integers(1, 5),
        attempts=st.integers(1, 3),
        skip=st.booleans(),
        whole_lock=st.booleans(),
        most=st.integers(1, 3),
        seed=st.integers(0, 2**32),
    )
    def begin(
        self, processes: int, lookahead: int, attempts: int, most: int, seed: int, **flags: bool
    ) -> None:
        """Start some processes on one queue."""
        policy = p.Policy(lookahead, attempts, skip_superseded=flags["skip"])
        self.world = World(
            processes=processes,
            policy=policy,
            seed=seed,
            whole_lock=flags["whole_lock"],
            most=most,
        )
        self.number = 0

    def _process(self, number: int) -> Process:
        return self.world.processes[number % len(self.world.processes)]

    @rule(
        group=st.sampled_from("aabbcde"),
        ref=st.sampled_from("xyz"),
        count=st.integers(1, 6),
        nature=st.sampled_from(["good"] * 8 + ["doomed", "poison"]),
        lag=st.sampled_from([0, 0, 0, 1, 20, 90, 179, 400]),
        away=st.booleans(),
    )
    def push(
        self,
        group: str,
        ref: str,
        count: int,
        nature: str,
        lag: float,
        away: bool,  # noqa: FBT001 - hypothesis gives it
    ) -> None:
        """Send some pushes of one ref, which the git server may show late, or lose by a force push.

        The last may be one that can never work, or kills.
        """
        events = [f"{group}{self.number + n}" for n in range(count)]
        self.number += count
        for each in events:
            gone = away and each != events[-1]
            self.world.send(group, Push(each, ref), lag=lag, pushed_away=gone)
        if nature == "doomed":
            self.world.doomed.add(events[-1])
        if nature == "poison":
            self.world.poisons.add(events[-1])

    @precondition(lambda self: self.world.sent)
    @rule(number=st.integers(0, 1_000))
    def repeat(self, number: int) -> None:
        """Have EventBridge deliver an event twice."""
        push = self.world.sent[number % len(self.world.sent)]
        self.world.send(push.event[0], push)

    def _work(self, process: Process, steps: int, percent: int = 0) -> None:
        """Receive if a process is idle, then do some of its operations, in any order."""
        process.stopping = process.stopping and bool(process.lanes)
        for _ in range(steps):
            ops = [(lane, n) for lane in process.lanes for n in lane.ops]
            if process.frozen or process.dead:
                return
            if not ops or self.world.chance(0.1):
                process.receive(self.world.random.choice([1, 10, 10]))
            else:
                lane, n = self.world.random.choice(ops)
                lane.step(n, well=not self.world.chance(percent / 100))

    @rule(number=_NUMBER, steps=st.integers(1, 60), percent=st.sampled_from([0, 0, 5, 30]))
    def work(self, number: int, steps: int, percent: int) -> None:
        """Let a process work; so many percent of its requests fail."""
        self._work(self._process(number), steps, percent)

    @rule(number=_NUMBER)
    def lose_an_answer(self, number: int) -> None:
        """Lose the answer to a receive: its messages stay invisible without a receiver."""
        self._process(number).receive(10, answered=False)

    @rule(seconds=_SECONDS)
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.world.advance(seconds)

    @rule(number=_NUMBER, seconds=_SECONDS)
    def crash(self, number: int, seconds: float) -> None:
        """Kill a process as by `kill -9`, and wait until one works again."""
        self._process(number).die()
        self.world.advance(seconds)

    @rule(number=_NUMBER, event=st.sampled_from([p.Stop(), p.Expire()]))
    def shut_down(self, number: int, event: p.Event) -> None:
        """Send SIGTERM, and the end of the grace."""
        process = self._process(number)
        process.stopping = True
        for lane in list(process.lanes):
            lane.feed(event)

    @rule(number=_NUMBER, frozen=st.booleans(), seconds=_SECONDS, steps=st.integers(0, 60))
    def stall(self, number: int, frozen: bool, seconds: float, steps: int) -> None:  # noqa: FBT001 - hypothesis gives it
        """Stop a process, or fail its renewals; the others go on meanwhile."""
        process = self._process(number)
        if frozen:
            self.world.freeze(process)
        process.cut_off = not frozen
        self.world.advance(seconds)
        for other in list(self.world.processes):
            if other is not process:
                self._work(other, steps)
        process.frozen = process.cut_off = False

    @rule(flag=st.sampled_from(["at_limit", "throttled"]), seconds=_SECONDS)
    def spell(self, flag: str, seconds: float) -> None:
        """Let CodeBuild have no room for a while."""
        setattr(self.world, flag, True)
        for _ in range(5):
            for process in list(self.world.processes):
                self._work(process, 20)
            self.world.advance(seconds / 5)
        setattr(self.world, flag, False)

    @rule(group=st.sampled_from("cde"), back=st.booleans())
    def lose_a_server(self, group: str, back: bool) -> None:  # noqa: FBT001 - hypothesis gives it
        """Make the git server of some repositories unreachable, or reachable again."""
        (self.world.away.discard if back else self.world.away.add)(group)

    def teardown(self) -> None:
        """Check that all pushes are built once, superseded, or dead-lettered (I1, I12)."""
        if not hasattr(self, "world"):
            return
        self.world.settle()
        buried = {push.event for push in self.world.dead.values()}
        for push in self.world.sent:
            assert push.event in self.world.ledger or push.event in buried
            if self.world.ledger.get(push.event) == "built":
                assert push.event in self.world.builds
        assert not self.world.builds.keys() & self.world.poisons


TestQueueWorld = QueueWorld.TestCase
TestQueueWorld.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=_STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@given(
    failing=st.integers(1, 12),
    well=st.integers(1, 4),
    pushes=st.integers(1, 3),
    most=st.integers(1, 3),
    lookahead=st.integers(1, 4),
    whole_lock=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=_EXAMPLES, deadline=None)
def test_an_unreachable_server_holds_up_its_own_repositories_alone(
    failing: int, well: int, pushes: int, most: int, lookahead: int, seed: int, *, whole_lock: bool
) -> None:
    """Pushes of that server are neither lost, doubled nor reordered, with any number of lanes."""
    world = World(
        processes=1,
        policy=p.Policy(lookahead),
        seed=seed,
        whole_lock=whole_lock,
        most=most,
    )
    groups = "abcdefghijklmnop"
    away, others = groups[:failing], groups[failing : failing + well]
    world.away = set(away)
    sent = [f"{group}{n}" for n in range(pushes) for group in away + others]
    for event in sent:
        world.send(event[0], Push(event, "x"))
    wanted = {event for event in sent if event[0] in others}
    for _ in range(10 * (failing + well * pushes) + 30):
        world.processes[0].receive(10)
        _work(world)
        world.advance(1)
        if wanted <= world.builds.keys():
            break
    assert set(world.builds) == wanted
    assert len(world.processes[0].lanes) <= 2 * most + 10  # a receive brings up to ten groups
    for _ in range(100):  # hours of it
        world.processes[0].receive(10)
        _work(world)
        world.advance(200)
    assert not world.dead
    world.settle()
    for group in away + others:
        built = [event for event in world.builds if event[0] == group]
        assert built == [event for event in sent if event[0] == group]


def test_a_push_of_a_lost_server_is_dead_lettered_with_that_reason() -> None:
    """The last delivery that the queue allows does not end without a reason."""
    policy = p.Policy(lookahead=2, longest_wait_seconds=60)
    world = World(processes=1, policy=policy, seed=1, whole_lock=False, most=1, max_receive_count=4)
    world.away = {"a"}
    for event in ("a1", "a2", "b1"):
        world.send(event[0], Push(event, "x"))
    for _ in range(2_000):
        world.processes[0].receive(10)
        _work(world)
        world.advance(1)
    assert [push.event for push in world.dead.values()] == ["a1", "a2"]
    assert set(world.builds) == {"b1"}
    assert not world.queue.messages


def _world(*, lookahead: int, max_attempts: int = 2) -> World:
    policy = p.Policy(lookahead, max_attempts)
    return World(processes=1, policy=policy, seed=1, whole_lock=False)


def _work(world: World) -> None:
    """Finish all operations until only time helps."""
    while ops := [(lane, n) for each in world.processes for lane in each.lanes for n in lane.ops]:
        for lane, n in ops:
            if n in lane.ops:
                lane.step(n)


def _only_lane(world: World) -> LaneSim:
    (lane,) = world.processes[0].lanes
    return lane


def test_ten_minutes_at_codebuilds_limit() -> None:
    """No push is dead-lettered, order is kept, and work resumes within seconds (I5)."""
    world = _world(lookahead=8)
    for n in range(30):
        world.send("ab"[n % 2], Push(f"{'ab'[n % 2]}{n}", "x"))
    world.at_limit = True
    for _ in range(600):
        world.processes[0].receive(10)
        _work(world)
        world.advance(1)
    assert not world.builds
    assert not world.dead
    ended = world.now
    world.at_limit = False
    while not world.builds:
        _work(world)
        world.advance(1)
    assert world.now - ended <= 11
    world.settle()
    assert len(world.builds) == 30
    for group in "ab":
        started = [event for event in world.builds if event.startswith(group)]
        assert started == sorted(started, key=lambda event: int(event[1:]))
    assert {"built"} == set(world.ledger.values())


def test_a_poison_message_is_dead_lettered_and_its_neighbours_are_built() -> None:
    """Pushes in its own group, and those of other groups prepared beside it (I5)."""
    world = _world(lookahead=4)
    for n in range(10):
        for group in "abc":
            world.send(group, Push(f"{group}{n}", "x"))
    world.poisons.add("b4")
    world.settle()
    assert [push.event for push in world.dead.values()] == ["b4"]
    assert len(world.builds) == 29


def test_a_duplicate_in_one_lane_is_not_built_again_after_a_long_wait() -> None:
    """The token expires between the two; the ledger and the builds are asked (I12)."""
    world = _world(lookahead=4)
    for event in ("a1", "a1", "a2"):
        world.send("a", Push(event, "x"))
    world.processes[0].receive(10)
    lane = _only_lane(world)
    for n in (2, 1):
        while lane.ops.get(n) and isinstance(lane.ops[n].command, p.Prepare):
            lane.step(n)
    while not world.builds:
        lane.step(1)
    world.advance(400)
    world.settle()
    assert set(world.builds) == {"a1", "a2"}


def test_a_push_that_the_server_shows_late_delays_its_own_group_alone() -> None:
    """Waiting counts no attempt; pushes behind it stay in order.

    Other repositories go on (I2, I5).
    """
    world = _world(lookahead=2, max_attempts=1)
    world.send("a", Push("a1", "x"), lag=170)
    world.send("a", Push("a2", "y"))
    world.send("b", Push("b1", "x"))
    for _ in range(16):
        world.processes[0].receive(10)
        _work(world)
        world.advance(10)
    assert world.ledger == {"b1": "built"}
    world.settle()
    assert list(world.builds) == ["b1", "a1", "a2"]
    assert not world.dead


def test_a_push_that_the_server_never_shows_becomes_stale() -> None:
    """Pushes behind it go on after that."""
    world = _world(lookahead=2)
    begun = world.now
    world.send("a", Push("a1", "x"), lag=10_000)
    world.send("a", Push("a2", "y"))
    world.settle()
    assert world.ledger == {"a1": "stale", "a2": "built"}
    assert 180 <= world.now - begun < 200


def test_a_push_that_a_later_one_replaced_delays_no_other() -> None:
    """The server shows the later push, which is in the queue: no lag explains that."""
    world = _world(lookahead=2)
    begun = world.now
    world.send("a", Push("a1", "x"), pushed_away=True)
    world.send("a", Push("a2", "x"))
    world.settle()
    assert world.ledger == {"a1": "stale", "a2": "built"}
    assert world.now - begun < 10


def test_a_kill_between_start_and_record_starts_nothing_twice() -> None:
    """The token has expired by the redelivery; the build is found by looking it up (I12)."""
    world = _world(lookahead=4)
    world.send("a", Push("a1", "x"))
    world.processes[0].receive(10)
    lane = _only_lane(world)
    while not world.builds:
        lane.step(1)
    started = dict(world.builds)
    world.processes[0].die()
    world.advance(400)
    world.settle()
    assert started == world.builds
    assert world.ledger == {"a1": "built"}
