"""Clock of the world, which tests replace by one of their own."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Function that returns the time, in UTC."""


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)
