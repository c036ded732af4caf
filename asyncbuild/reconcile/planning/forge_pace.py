"""Pace of requests to forges: one that is throttled is left alone for a while. Pure."""

from dataclasses import dataclass
from typing import Final

_FIRST_SECONDS: Final = 15.0
_MOST_SECONDS: Final = 900.0


@dataclass(slots=True)
class _ForgeState:
    closed_until: float = 0.0
    seconds: float = 0.0  # of the last pause; 0 after a success


class ForgePace:
    """Pauses of forges. Each refusal in a row doubles the pause, from 15 s to 15 minutes."""

    def __init__(self) -> None:
        self._forges: dict[str, _ForgeState] = {}

    def wait_seconds(self, forge: str, now: float) -> float:
        """Return how long a forge is still to be left alone; 0 if it may be asked.

        Args:
            forge: Name of the forge, with the account that is asked.
            now: The time, in seconds of a monotonic clock.
        """
        state = self._forges.get(forge)
        return max(0.0, state.closed_until - now) if state else 0.0

    def slow_down(self, forge: str, now: float, *, after_seconds: float | None = None) -> float:
        """Leave a forge alone after a refusal; return for how long, in seconds.

        Args:
            forge: Name of the forge, with the account that is asked.
            now: The time, in seconds of a monotonic clock.
            after_seconds: Pause that the forge asks for; None if it names none.
        """
        state = self._forges.setdefault(forge, _ForgeState())
        state.seconds = min(_MOST_SECONDS, max(_FIRST_SECONDS, 2 * state.seconds))
        pause = min(_MOST_SECONDS, max(state.seconds, after_seconds or 0.0))
        state.closed_until = max(state.closed_until, now + pause)
        return pause

    def note_success(self, forge: str) -> None:
        """Forget earlier refusals of a forge."""
        self._forges.pop(forge, None)
