"""Which preparation comes next: lanes take turns, and those with less in hand go first. Pure.

A repository with five hundred pushes in its lane gets one turn among the others, not five hundred.
"""

from collections import deque
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Turns(Generic[Job]):
    """Jobs that wait, by lane. A lane is any hashable name; jobs of one lane keep their order."""

    def __init__(self) -> None:
        self._waiting: dict[object, deque[Job]] = {}
        self._in_hand: dict[object, int] = {}
        self._last_turn: dict[object, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._waiting.values())

    def add(self, lane: object, job: Job) -> None:
        """Let `job` wait for its turn."""
        self._waiting.setdefault(lane, deque()).append(job)

    def remove(self, lane: object, job: Job) -> bool:
        """Take a waiting job out; False if it does not wait (any more)."""
        jobs = self._waiting.get(lane)
        if jobs is None or job not in jobs:
            return False
        jobs.remove(job)
        if not jobs:
            del self._waiting[lane]
        return True

    def take(self) -> tuple[object, Job] | None:
        """Give out the next job, or None. Say `done` when it has ended."""
        if not self._waiting:
            return None
        lane = min(
            self._waiting,
            key=lambda each: (self._in_hand.get(each, 0), self._last_turn.get(each, 0)),
        )
        job = self._waiting[lane].popleft()
        if not self._waiting[lane]:
            del self._waiting[lane]
        self._turn += 1
        self._last_turn[lane] = self._turn
        self._in_hand[lane] = self._in_hand.get(lane, 0) + 1
        return lane, job

    def done(self, lane: object) -> None:
        """A job of `lane` has ended."""
        self._in_hand[lane] -= 1
        if not self._in_hand[lane]:
            del self._in_hand[lane]
            if lane not in self._waiting:
                self._last_turn.pop(lane, None)
