"""Choice of the mirrors to evict, from sizes, ages and a budget. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Occupant:
    """One mirror on the disk. `used_at` is in seconds of any one clock."""

    path: str
    size_bytes: int
    used_at: float
    busy: bool = False


def plan_eviction(occupants: Iterable[Occupant], budget_bytes: int) -> list[Occupant]:
    """Return the mirrors to delete, least recently used first, until the rest fits the budget.

    Mirrors in use stay, even if they alone exceed the budget. Equal ages are ordered by path, so
    that two processes that look at one disk choose the same ones.
    """
    everyone = sorted(occupants, key=lambda each: (each.used_at, each.path))
    excess = sum(each.size_bytes for each in everyone) - budget_bytes
    going: list[Occupant] = []
    for each in everyone:
        if excess <= 0:
            break
        if not each.busy:
            going.append(each)
            excess -= each.size_bytes
    return going
