"""Token bucket: how often a credential may be used, without a clock of its own."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class TokenBucket:
    """Allowance of requests that refills evenly; all times are seconds of one monotonic clock.

    Attributes:
        most: Requests that may be made at once after a pause; also those of one `period_seconds`.
        period_seconds: Time in which an empty bucket becomes full.
    """

    most: float
    period_seconds: float
    _left: float = field(init=False)
    _at: float = field(init=False, default=0.0)
    _closed_until: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._left = self.most

    def take(self, now: float) -> float:
        """Take one request; return 0, or the seconds to wait, and then nothing was taken."""
        self._refill(now)
        if now < self._closed_until:
            return self._closed_until - now
        if self._left < 1:
            return (1 - self._left) * self.period_seconds / self.most
        self._left -= 1
        return 0.0

    def share(self, now: float) -> float:
        """Return which part of the allowance is left, from 0 to 1."""
        self._refill(now)
        return 0.0 if now < self._closed_until else self._left / self.most

    def close(self, now: float, seconds: float) -> None:
        """Allow nothing for some time, because the server said so."""
        self._closed_until = max(self._closed_until, now + seconds)

    def limit(self, now: float, left: float) -> None:
        """Lower what is left to what the server says; a larger number changes nothing."""
        self._refill(now)
        self._left = min(self._left, max(0.0, left))

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self._at)
        self._at = max(self._at, now)
        self._left = min(self.most, self._left + elapsed * self.most / self.period_seconds)
