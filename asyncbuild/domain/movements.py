"""Movements of a ref as the ledger records them, and which of them was the last. Pure.

A found push and a late event may tell of one movement. Both are decided by these rules, so that one
of them asks for nothing, whichever comes first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# An older push that arrives late, and one that a newer push covered: the ref was not there last.
_NO_MOVEMENTS: Final = frozenset({"stale", "superseded"})
# Clocks of a forge and of this service, and times of events in whole seconds.
CLOCK_SKEW: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Movement:
    """One move of a ref, as a record of a push tells of it.

    Attributes:
        ref: Full name of the ref.
        commit: Where it moved; empty if it was deleted.
        time: Time of the push.
        event_id: Id of the push.
        old_commit: Where it was before; empty if that is not known.
        verdict: What was decided.
    """

    ref: str
    commit: str
    time: datetime
    event_id: str
    old_commit: str = ""
    verdict: str = ""

    @property
    def moves(self) -> bool:
        """Return whether the record shows where the ref was last at its time."""
        return self.verdict not in _NO_MOVEMENTS


@dataclass(frozen=True, slots=True)
class FoundMark:
    """Push of a ref that was built before its event came, as the head keeps it.

    Attributes:
        commit: The commit.
        since: The last time at which the ref was seen, or built, elsewhere.
        time: The time at which the ref was seen at the commit.
        event_id: Id of the push.
        old_commit: Where the ref was before; empty for a new ref.
    """

    commit: str
    since: datetime
    time: datetime
    event_id: str
    old_commit: str = ""

    def is_told_by(self, commit: str, time: datetime) -> bool:
        """Return whether an event with this commit and its own time tells of the same movement."""
        return commit == self.commit and self.since - CLOCK_SKEW <= time <= self.time


def find_settled(commit: str, movements: Sequence[Movement]) -> Movement | None:
    """Return the recorded movement to a commit, unless the ref has moved away since; else None.

    Args:
        commit: The commit.
        movements: Movements of one ref.
    """
    here = [each for each in movements if each.commit == commit]
    if not here:
        return None
    last = max(here, key=lambda each: each.time)
    away = (each for each in movements if each.commit != commit and each.moves)
    return None if any(_follows(each, last, here) for each in away) else last


def find_later(commit: str, time: datetime, movements: Iterable[Movement]) -> Movement | None:
    """Return a recorded movement from a commit to another place after `time`; None without one.

    Args:
        commit: The commit.
        time: The time.
        movements: Movements of one ref.
    """
    away = (each for each in movements if each.commit != commit and each.moves)
    return next((each for each in away if each.time > time), None)


def _follows(moved: Movement, last: Movement, here: Sequence[Movement]) -> bool:
    """Return whether a movement elsewhere came after the last one to the commit.

    Args:
        moved: The movement elsewhere.
        last: The last movement to the commit.
        here: All movements to the commit.
    """
    if moved.time < last.time:
        return False
    at_last = [each for each in here if each.time == last.time]
    before = bool(moved.commit) and any(each.old_commit == moved.commit for each in at_last)
    if moved.time == last.time:  # times have whole seconds
        return moved.old_commit == last.commit and not before
    # Without a time of its own an event has that of its arrival, which may be late.
    return not before or moved.old_commit == last.commit
