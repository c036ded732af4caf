"""Ways to settle a message of a queue without lanes: done, hidden, or given up. Pure."""

from dataclasses import dataclass
from typing import Final

from asyncbuild.domain.errors import Kind

HIDDEN_FIRST_SECONDS: Final = 5
HIDDEN_MOST_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Done:
    """Settled: nothing is left to do, and the message is deleted."""


@dataclass(frozen=True, slots=True)
class Hide:
    """Hidden for so many seconds; then the message is tried again."""

    seconds: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Given up: the message can never work, and becomes a dead letter with this reason."""

    reason: str
    kind: Kind = Kind.REJECT


Settling = Done | Hide | GiveUp


def hidden_seconds(receive_count: int, most: int = HIDDEN_MOST_SECONDS) -> int:
    """Return how long a message is hidden that was received so many times: 5 s, doubled to `most`.

    Args:
        receive_count: Number of deliveries, this one included.
        most: Longest time in seconds.
    """
    doublings = min(max(receive_count, 1) - 1, 16)
    return min(most, HIDDEN_FIRST_SECONDS << doublings)
