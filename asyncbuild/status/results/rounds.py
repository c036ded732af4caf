"""Newest round over unfinished builds that this task made."""

from collections.abc import Callable
from typing import Final

from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.events.result_events import ResultsSwept

# Any task may make the next round: what this one found is shown for so long.
_VALID_SECONDS: Final = 1_800.0


class Rounds:
    """Subscriber to events that keeps the newest round.

    Args:
        clock: Clock in epoch seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = 0.0
        self._newest: ResultsSwept | None = None

    def hear(self, told: Emitted) -> None:
        """Keep a round."""
        match told.event:
            case ResultsSwept() as event:
                self._at, self._newest = self._clock(), event
            case _:
                pass

    @property
    def newest(self) -> tuple[float, ResultsSwept] | None:
        """Time and findings of the newest round; None if it is more than half an hour ago."""
        if self._newest is None or self._clock() - self._at > _VALID_SECONDS:
            return None
        return self._at, self._newest
