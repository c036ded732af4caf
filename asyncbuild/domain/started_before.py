"""Judgement whether a push may have started a build whose idempotency token has expired. Pure."""

from datetime import datetime, timedelta
from typing import Final

from asyncbuild.domain.model import Message, Push

_CLOCK_SKEW: Final = timedelta(minutes=5)
# EventBridge delivers within seconds. A message that came to the queue later was sent again.
_DELIVERED: Final = timedelta(minutes=1)


def may_have_started(
    push: Push,
    message: Message,
    *,
    tried_seconds_ago: float | None,
    is_duplicate: bool,
    token_trusted_seconds: float,
) -> bool:
    """Return whether a build may have started so long ago that its token is forgotten.

    A dead letter may have started its build, with only the answer or the record lost. Moved back to
    the queue it is a new message, and its token is forgotten.

    Args:
        push: The push.
        message: The message that contains it.
        tried_seconds_ago: Seconds since this process first tried a start; None if it did not.
        is_duplicate: Whether an older message of the same delivery is about the same event.
        token_trusted_seconds: Seconds for which the idempotency token of a start is surely
            remembered.
    """
    if was_sent_back(push, message) or is_duplicate or message.receive_count > 1:
        return True
    return tried_seconds_ago is not None and tried_seconds_ago > token_trusted_seconds


def was_sent_back(push: Push, message: Message) -> bool:
    """Return whether a message was sent so long after its push that it was a dead letter before."""
    return message.sent is not None and message.sent - push.time > _DELIVERED


def search_from(push: Push, message: Message) -> datetime | None:
    """Return the time from which on to search for builds of the push; None if unknown."""
    return min(message.sent, push.time) - _CLOCK_SKEW if message.sent else None
