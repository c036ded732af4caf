"""Judgement whether something of a push may have been done before it was received. Pure."""

from asyncbuild.domain.model import Message, Push
from asyncbuild.domain.started_before import was_sent_back


def is_new(push: Push, message: Message) -> bool:
    """Return whether a message tells of a push for the first time, as far as it shows itself.

    A forge or EventBridge may deliver an event twice, in two messages that both look new.

    Args:
        push: The push.
        message: The message that contains it.
    """
    return message.receive_count == 1 and not was_sent_back(push, message)


def may_be_stored(push: Push, key: str) -> bool:
    """Return whether the archive of a new push may be in the bucket, made for another push.

    Other refs at the same commit share a key that does not name the ref. A ref that is pushed back
    to a commit is not counted.

    Args:
        push: The push.
        key: Key of its archive.
    """
    return push.branch not in key
