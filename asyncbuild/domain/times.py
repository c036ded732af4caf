"""Foreign times: ISO 8601 texts, and times at the calendar's edges. Pure."""

from datetime import UTC, datetime

_FIRST_YEAR, _LAST_YEAR = 1970, 9998


def read_time(text: object) -> datetime | None:
    """Return the UTC time that an ISO 8601 text says, or None; without a zone it is in UTC."""
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
        if time is None:
            return None
        return usable_time(time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC))
    except (ValueError, OverflowError):  # the latter at the calendar's edge
        return None


def usable_time(time: datetime) -> datetime | None:
    """Return a time that is safe to calculate with and sort as text; None at calendar edges."""
    return time if _FIRST_YEAR <= time.year <= _LAST_YEAR else None
