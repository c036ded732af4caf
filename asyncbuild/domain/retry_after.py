"""Header `Retry-After` of HTTP: the pause that a server asks for. Pure."""

import math
import re
from datetime import datetime
from email.utils import parsedate_to_datetime


def parse_retry_after(text: str, now: datetime) -> float | None:
    """Return the seconds in a `Retry-After` header (RFC 9110, 10.2.3); None if it has none.

    The number is not bounded by a setting: the caller limits its wait.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text):
        return min(float(text[:20]) if len(text) <= 20 else math.inf, 1e9)  # noqa: PLR2004 - more than any
    try:
        seconds = (parsedate_to_datetime(text) - now).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, min(seconds, 1e9))
