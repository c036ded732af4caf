"""A FIFO queue, tasks with consumers, and target tracking, second by second of events.

The queue locks a group while messages of it are in flight and hands out up to ten of one group. A
task takes a group when it has a free consumer, prepares up to LOOKAHEAD of its messages at a
time, one consumer each, and settles them in order. Target tracking sees averages of minutes, one
minute late; it adds tasks after three minutes above the target and takes them away after fifteen
minutes below nine tenths of it, as the alarms do that AWS makes for such a policy.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from math import ceil

from load import Arrival
from mirrors import Mirrors, TaskDisk
from policy import Seen, wanted_tasks

BATCH = 10
LOOKAHEAD = 4
CONSUMERS = 8
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The tracked value, and its target."""

    name: str
    value: Callable[[Seen], float]
    target: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the scaling."""

    least: int = 1
    most: int = 60
    start_seconds: float = 45.0  # from the decision to the first receive
    out_minutes: int = 3
    in_minutes: int = 15
    out_cooldown_seconds: float = 60.0
    in_cooldown_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Minute:
    """One point of the plots."""

    at: float
    seen: Seen
    useful: float  # tasks that the groups with work could fill


@dataclass(slots=True)
class Result:
    """Figures of one run."""

    waits: list[float] = field(
        default_factory=list
    )  # seconds from push to preparation, or to its mirror
    minutes: list[Minute] = field(default_factory=list)
    task_seconds: float = 0.0
    idle_seconds: float = 0.0  # of tasks that no group could use

    def wait(self, percent: float) -> float:
        """Return the wait that `percent` of the pushes do not exceed, in seconds."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, ceil(len(ordered) * percent / 100) - 1)]

    @property
    def peak_tasks(self) -> float:
        """Return the most tasks that ran."""
        return max(minute.seen.tasks for minute in self.minutes)


@dataclass(slots=True, eq=False)
class _Lane:
    group: int
    waiting: deque[Arrival]
    order: deque[Arrival] = field(default_factory=deque)  # begun, in order
    prepared: set[int] = field(default_factory=set)  # ids of pushes that wait for an older one
    preparing: int = 0


@dataclass(slots=True, eq=False)
class _Task:
    shard: int = 0
    free: int = CONSUMERS
    stopping: bool = False
    disk: TaskDisk = field(default_factory=TaskDisk)  # empty at the start of a task
    lanes: list[_Lane] = field(default_factory=list)

    def next_lane(self) -> _Lane | None:
        """Return the next lane.

        Of those that can prepare more, the one with the fewest in preparation.
        """
        waiting = [each for each in self.lanes if each.waiting and each.preparing < LOOKAHEAD]
        return min(waiting, key=lambda each: each.preparing, default=None)


class Simulation:
    """One run. Everything happens in `run`; other methods are its steps.

    Args:
        arrivals: Pushes in order of time.
        policy: Policy of the scaling.
        limits: Limits of the scaling.
        hours: Hours of the load.
        seed: Seed of what is random.
        mirrors: Mirrors of the tasks; None where each push finds one.
        shards: Number of queues; a repository has one of them, and so has a task.
    """

    def __init__(
        self,
        arrivals: Iterable[Arrival],
        policy: Policy,
        limits: Limits,
        *,
        hours: float,
        seed: int,
        mirrors: Mirrors | None = None,
        shards: int = 1,
    ) -> None:
        self._policy, self._limits, self._end = policy, limits, hours * 3_600
        self._mirrors, self._shards, self._made = mirrors, shards, 0
        self._chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._result = Result()
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._groups: dict[int, deque[Arrival]] = {}
        self._locked: set[int] = set()
        # Groups to receive from, oldest first, of each shard.
        self._ready: list[deque[int]] = [deque() for _ in range(shards)]
        self._tasks: list[_Task] = []
        self._starting = 0
        self._visible = self._inflight = 0
        self._sums = [0.0] * 4
        self._history: list[float] = []
        self._last_out = self._last_in = -1e9
        self._outstanding: Counter[int] = Counter()
        self._useful_consumers = 0
        self._arrivals = iter(arrivals)

    def run(self) -> Result:
        """Run until the load has ended and everything is settled; return the figures."""
        self._start_tasks(self._limits.least, at_once=True)
        self._push_next_arrival()
        self._later(MINUTE, self._tick)
        while self._events:
            at, _, happen = heapq.heappop(self._events)
            self._pass_time(at)
            happen()
            self._receive()
        return self._result

    # --- time ---

    def _later(self, seconds: float, happen: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._events, (self._now + seconds, self._serial, happen))

    def _push_next_arrival(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self._later(arrival.at - self._now, partial(self._arrive, arrival))

    def _count(self, group: int, change: int) -> None:
        """Count the consumers that the present messages could occupy."""
        before = self._outstanding[group]
        self._outstanding[group] = before + change
        self._useful_consumers += min(before + change, LOOKAHEAD) - min(before, LOOKAHEAD)

    def _pass_time(self, until: float) -> None:
        seconds = until - self._now
        billed = len(self._tasks) + self._starting
        useful = max(ceil(self._useful_consumers / CONSUMERS), self._limits.least)
        values = (self._visible, self._inflight, len(self._tasks), useful)
        self._sums = [old + seconds * new for old, new in zip(self._sums, values, strict=True)]
        self._result.task_seconds += seconds * billed
        self._result.idle_seconds += seconds * max(0.0, billed - useful)
        self._now = until

    # --- queue and tasks ---

    def _arrive(self, arrival: Arrival) -> None:
        group = self._groups.setdefault(arrival.repository, deque())
        group.append(arrival)
        self._visible += 1
        self._count(arrival.repository, 1)
        if len(group) == 1 and arrival.repository not in self._locked:
            self._queue(arrival.repository).append(arrival.repository)
        self._push_next_arrival()

    def _queue(self, group: int) -> deque[int]:
        return self._ready[group % self._shards]

    def _receive(self) -> None:
        for shard, ready in enumerate(self._ready):
            if ready:
                self._receive_from(shard, ready)

    def _receive_from(self, shard: int, ready: deque[int]) -> None:
        willing = [
            task for task in self._tasks if task.free and not task.stopping and task.shard == shard
        ]
        while ready and willing:
            task = self._chance.choice(willing)
            number = ready.popleft()
            group = self._groups[number]
            taken = deque(group.popleft() for _ in range(min(BATCH, len(group))))
            self._locked.add(number)
            self._visible -= len(taken)
            self._inflight += len(taken)
            task.lanes.append(_Lane(number, taken))
            self._prepare(task)
            if not task.free:
                willing.remove(task)

    def _prepare(self, task: _Task) -> None:
        while task.free and not task.stopping and (lane := task.next_lane()):
            arrival = lane.waiting.popleft()
            lane.order.append(arrival)
            lane.preparing += 1
            task.free -= 1
            fetch = 0.0
            if self._mirrors is not None:
                fetch = self._mirrors.wait(task.disk, arrival.repository, self._now)
            self._result.waits.append(self._now + fetch - arrival.at)
            self._later(fetch + arrival.seconds, partial(self._prepared, task, lane, arrival))

    def _prepared(self, task: _Task, lane: _Lane, arrival: Arrival) -> None:
        lane.preparing -= 1
        task.free += 1
        lane.prepared.add(id(arrival))
        while lane.order and id(lane.order[0]) in lane.prepared:
            lane.prepared.discard(id(lane.order.popleft()))
            self._inflight -= 1
            self._count(lane.group, -1)
        self._prepare(task)
        if not lane.waiting and not lane.order:
            self._close(task, lane)

    def _hand_back(self, lane: _Lane) -> None:
        self._groups[lane.group].extendleft(reversed(lane.waiting))
        self._visible += len(lane.waiting)
        self._inflight -= len(lane.waiting)
        lane.waiting.clear()

    def _close(self, task: _Task, lane: _Lane) -> None:
        task.lanes.remove(lane)
        self._locked.discard(lane.group)
        if self._groups[lane.group]:
            self._queue(lane.group).append(lane.group)
        if task.stopping and not task.lanes:
            self._tasks.remove(task)

    def _start_tasks(self, number: int, *, at_once: bool = False) -> None:
        for _ in range(number):
            self._starting += 1
            self._later(0 if at_once else self._limits.start_seconds, self._task_up)

    def _task_up(self) -> None:
        self._starting -= 1
        self._tasks.append(_Task(shard=self._made % self._shards))
        self._made += 1

    def _stop_tasks(self, number: int) -> None:
        for task in [task for task in self._tasks if not task.stopping][:number]:
            task.stopping = True
            for lane in list(task.lanes):
                self._hand_back(lane)
                if not lane.order:
                    self._close(task, lane)
            if not task.lanes and task in self._tasks:
                self._tasks.remove(task)

    # --- scaling ---

    def _tick(self) -> None:
        visible, inflight, tasks, useful = (total / MINUTE for total in self._sums)
        # Each task reports once a minute how many of its consumers are free.
        running = [task for task in self._tasks if not task.stopping]
        free = sum(task.free for task in running) / max(len(running), 1)
        self._sums = [0.0] * 4
        seen = Seen(visible, inflight, free, tasks)
        self._result.minutes.append(Minute(self._now, seen, useful))
        self._history.append(self._policy.value(seen))
        self._scale(self._history[:-1])  # the last minute is not visible yet
        if self._now < self._end or self._visible or self._inflight:
            self._later(MINUTE, self._tick)

    def _scale(self, history: list[float]) -> None:
        limits, target = self._limits, self._policy.target
        running = sum(1 for task in self._tasks if not task.stopping)
        tasks = running + self._starting
        high, low = history[-limits.out_minutes :], history[-limits.in_minutes :]
        if not history:
            return
        wanted = wanted_tasks(
            max(running, 1), history[-1], target, least=limits.least, most=limits.most
        )
        if len(high) == limits.out_minutes and min(high) > target:
            if wanted > tasks and self._now - self._last_out >= limits.out_cooldown_seconds:
                self._start_tasks(wanted - tasks)
                self._last_out = self._now
        elif len(low) == limits.in_minutes and max(low) < 0.9 * target:
            cooled = self._now - max(self._last_in, self._last_out) >= limits.in_cooldown_seconds
            if wanted < tasks and cooled:
                self._stop_tasks(tasks - wanted)
                self._last_in = self._now
