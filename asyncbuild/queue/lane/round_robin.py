"""Choice of the next preparation: lanes take turns, those with less in flight first. Pure.

A repository with five hundred pushes in its lane gets one turn among the others, not five hundred.
A lane with something in flight leaves some consumers free for lanes with nothing: a few
repositories with long preparations, or with ones that only a limit ends, delay only themselves.
Likewise a forge leaves some consumers free for each of the others: preparations that hang at one
forge, or at several, delay only pushes of those forges.
"""

import math
from collections import Counter, deque
from itertools import takewhile
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Turns(Generic[Job]):
    """Waiting jobs, by lane. A lane is any hashable name; jobs of one lane keep their order.

    Args:
        count: How many jobs may be in flight at the same time; None for any number.
        forges: Number of forges.
        reserve: Places that each forge has for itself, at most.
        spare: Places that are left to lanes with nothing in flight.
    """

    def __init__(
        self,
        count: int | None = None,
        *,
        forges: int = 1,
        reserve: int = 0,
        spare: int = 0,
    ) -> None:
        self._count = count
        self._spare = spare
        self._forges_most = forges
        self._reserve = reserve
        self._waiting: dict[object, deque[tuple[str, Job]]] = {}
        self._in_flight: dict[object, int] = {}
        self._last_turn: dict[object, int] = {}
        self._forges: Counter[str] = Counter()  # jobs in flight
        self._turn = 0

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._waiting.values())

    def add(self, lane: object, job: Job, forge: str = "") -> None:
        """Append `job` to its lane's waiting jobs.

        Args:
            lane: Name of the lane.
            job: The job.
            forge: Forge whose share it uses; empty for none.
        """
        self._waiting.setdefault(lane, deque()).append((forge, job))

    def remove(self, lane: object, job: Job) -> bool:
        """Remove a waiting job; return False if it does not wait (any more)."""
        jobs = self._waiting.get(lane, deque())
        found = next((each for each in jobs if each[1] == job), None)
        if found is None:
            return False
        jobs.remove(found)
        if not jobs:
            del self._waiting[lane]
        return True

    def is_full(self, forge: str) -> bool:
        """Return whether all places that are free now are reserved for other forges."""
        return bool(forge) and self._left_for(forge) <= 0

    def _left_for(self, forge: str) -> float:
        """Return how many more jobs of the forge may be in flight."""
        if self._count is None:
            return math.inf
        others = [used for name, used in self._forges.items() if name not in {forge, ""}]
        unused = max(0, self._forges_most - 1 - len(others))
        kept = unused * self._reserve + sum(max(0, self._reserve - used) for used in others)
        free = self._count - sum(self._forges.values())
        # With fewer places than forges not all can be reserved; the rest goes to forges that have
        # none.
        own = max(0, self._reserve - self._forges[forge])
        return max(min(own, free), free - min(kept, self._count - 1))

    def count_ready(self) -> int:
        """Return how many of the waiting jobs free consumers would take, or a few more."""
        first: Counter[str] = Counter()
        more: Counter[str] = Counter()
        for lane, jobs in self._waiting.items():
            # A job that waits for its forge delays those behind it, whatever they need.
            able = list(
                takewhile(lambda forge: not self.is_full(forge), (each[0] for each in jobs))
            )
            if able:
                (more if lane in self._in_flight else first)[able[0]] += 1
                more.update(able[1:])
        left = self._left_for_more()
        return sum(
            int(min(first[forge] + min(more[forge], left), self._left_or_none(forge)))
            for forge in first | more
        )

    def _left_or_none(self, forge: str) -> float:
        return max(0, self._left_for(forge)) if forge else math.inf

    def _left_for_more(self) -> float:
        """Return how many more jobs may be in flight for lanes that have some already."""
        if self._count is None or not self._spare:
            return math.inf
        return max(0, self._count - sum(self._forges.values()) - self._spare)

    def take(self) -> tuple[object, Job, str] | None:
        """Take the next job; return it with its lane and forge, or None. Call `done` at its end."""
        more = self._left_for_more() > 0
        able = [
            lane
            for lane, jobs in self._waiting.items()
            if not self.is_full(jobs[0][0]) and (more or lane not in self._in_flight)
        ]
        if not able:
            return None
        lane = min(
            able, key=lambda each: (self._in_flight.get(each, 0), self._last_turn.get(each, 0))
        )
        forge, job = self._waiting[lane].popleft()
        if not self._waiting[lane]:
            del self._waiting[lane]
        self._turn += 1
        self._last_turn[lane] = self._turn
        self._in_flight[lane] = self._in_flight.get(lane, 0) + 1
        self._forges[forge] += 1
        return lane, job, forge

    def done(self, lane: object, forge: str = "") -> None:
        """Record that a job of `lane` has ended."""
        self._forges[forge] -= 1
        if not self._forges[forge]:
            del self._forges[forge]
        self._in_flight[lane] -= 1
        if not self._in_flight[lane]:
            del self._in_flight[lane]
            if lane not in self._waiting:
                self._last_turn.pop(lane, None)
