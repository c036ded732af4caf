"""Term of a lease: its end, when to renew it, and whether a commit is still safe. Pure.

Times are seconds of one monotonic clock; the caller passes the time.
"""

from dataclasses import dataclass

_RENEW_AFTER = 1 / 3  # of the visibility timeout: two more tries fit before it runs out
_TRY_AGAIN_AFTER = 1 / 12
_MARGIN = 1 / 10  # time for a commit to reach the server
_MOST_SECONDS = 12 * 3_600 - 60  # SQS ends every lease 12 hours after the receive
_OLD_SECONDS = 11.5 * 3_600


@dataclass(frozen=True, slots=True)
class Renewal:
    """Ids of the messages that were not renewed: `lost` are not ours any more, `failed` may be."""

    lost: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    reason: str = ""


class Term:
    """The time for which this process may work on the messages of one delivery.

    Args:
        asked_at: Before the receive was sent: the earliest time the visibility can have begun.
        visibility_seconds: The visibility timeout asked for.
    """

    def __init__(self, *, asked_at: float, visibility_seconds: int) -> None:
        self._asked_at = asked_at
        self._visibility = visibility_seconds
        self._until = asked_at + visibility_seconds
        self._renew_at = asked_at + visibility_seconds * _RENEW_AFTER
        self._lost = False

    @property
    def ends_at(self) -> float:
        """Time from which nothing is committed: a later commit could arrive after the end."""
        return self._until - self._visibility * _MARGIN

    @property
    def wakes_at(self) -> float:
        """Time of the next action: a renewal, or noticing the end."""
        return min(self._renew_at, self.ends_at)

    @property
    def patience_seconds(self) -> float:
        """Seconds that one renewal may take before it is better to try again."""
        return self._visibility * _RENEW_AFTER

    def is_over(self, now: float) -> bool:
        """Return whether commits are refused (I4)."""
        return self._lost or now >= self.ends_at

    def is_old(self, now: float) -> bool:
        """Return whether SQS will soon end the lease, however often it is renewed."""
        return now - self._asked_at >= _OLD_SECONDS

    def renewal_seconds(self, now: float) -> int:
        """Return the seconds to ask for: SQS refuses more than 12 hours in all."""
        return self.limit(self._visibility, now)

    def limit(self, seconds: float, now: float) -> int:
        """Return whole seconds, at least one, that SQS accepts for a visibility set at `now`."""
        return max(1, int(min(seconds, self._asked_at + _MOST_SECONDS - now)))

    def renewed(self, *, sent_at: float, seconds: int) -> None:
        """Extend the lease by a renewal over `seconds`, which began no earlier than it was sent."""
        self._until = max(self._until, sent_at + seconds)
        self._renew_at = sent_at + self._visibility * _RENEW_AFTER

    def not_renewed(self, now: float) -> None:
        """Schedule the next try after a renewal that failed or was not needed."""
        self._renew_at = now + self._visibility * _TRY_AGAIN_AFTER

    def lose(self) -> None:
        """End the lease: the queue reports that the messages are not ours any more."""
        self._lost = True
