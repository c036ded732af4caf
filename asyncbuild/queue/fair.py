"""Which preparation comes next: lanes take turns, and those with less in flight go first. Pure.

A repository with five hundred pushes in its lane gets one turn among the others, not five hundred.
And a forge gets no more than its share of the consumers: what hangs there holds up its own pushes.
"""

from collections import Counter, deque
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Turns(Generic[Job]):
    """Jobs that wait, by lane. A lane is any hashable name; jobs of one lane keep their order.

    Args:
        share: How many jobs of one forge may be in hand at the same time; None for any number.
    """

    def __init__(self, share: int | None = None) -> None:
        self._share = share
        self._waiting: dict[object, deque[tuple[str, Job]]] = {}
        self._in_hand: dict[object, int] = {}
        self._last_turn: dict[object, int] = {}
        self._forges: Counter[str] = Counter()  # jobs in hand
        self._turn = 0

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._waiting.values())

    def add(self, lane: object, job: Job, forge: str = "") -> None:
        """Let `job` wait for its turn; without a forge it is counted for none."""
        self._waiting.setdefault(lane, deque()).append((forge, job))

    def remove(self, lane: object, job: Job) -> bool:
        """Take a waiting job out; False if it does not wait (any more)."""
        jobs = self._waiting.get(lane, deque())
        found = next((each for each in jobs if each[1] == job), None)
        if found is None:
            return False
        jobs.remove(found)
        if not jobs:
            del self._waiting[lane]
        return True

    def is_full(self, forge: str) -> bool:
        """Tell whether the forge has its share."""
        return bool(forge) and self._share is not None and self._forges[forge] >= self._share

    def count_ready(self) -> int:
        """Return how many of the waiting jobs free consumers would take."""
        waiting = Counter(forge for jobs in self._waiting.values() for forge, _ in jobs)
        return sum(
            count
            if self._share is None or not forge
            else min(count, max(0, self._share - self._forges[forge]))
            for forge, count in waiting.items()
        )

    def take(self) -> tuple[object, Job, str] | None:
        """Give out lane, job and forge of what comes next, or None; say `done` at its end."""
        able = [lane for lane, jobs in self._waiting.items() if not self.is_full(jobs[0][0])]
        if not able:
            return None
        lane = min(
            able, key=lambda each: (self._in_hand.get(each, 0), self._last_turn.get(each, 0))
        )
        forge, job = self._waiting[lane].popleft()
        if not self._waiting[lane]:
            del self._waiting[lane]
        self._turn += 1
        self._last_turn[lane] = self._turn
        self._in_hand[lane] = self._in_hand.get(lane, 0) + 1
        self._forges[forge] += 1
        return lane, job, forge

    def done(self, lane: object, forge: str = "") -> None:
        """A job of `lane` has ended."""
        self._forges[forge] -= 1
        if not self._forges[forge]:
            del self._forges[forge]
        self._in_hand[lane] -= 1
        if not self._in_hand[lane]:
            del self._in_hand[lane]
            if lane not in self._waiting:
                self._last_turn.pop(lane, None)
