"""Judgement whether a git server that lacks a push's commit may show it later. Pure.

Git servers answer from replicas, mirrors and caches: an event can arrive here before the server
shows the ref at the commit that the event names. So a missing commit is asked for again while the
push is young. A force push or a deletion leaves the same gap permanently; where the ref's tip or
the queue shows that one of them was the reason, the service does not wait.
"""

from collections.abc import Iterable
from datetime import datetime

from asyncbuild.domain.model import Nothing, Push


def is_young(push: Push, *, sent: datetime | None, now: datetime, seconds: float) -> bool:
    """Return whether a server may still lag behind the push.

    The age is that of the message: its time is the queue's, while that of the event may come from
    the clock of a git server.

    Args:
        push: The push whose commit is missing.
        sent: When its message was sent; None if that is not known.
        now: The time.
        seconds: Longest lag of a server (`git.replication_lag_seconds`).
    """
    return (now - (sent or push.time)).total_seconds() < seconds


def may_appear(push: Push, *, tip: str, later: Iterable[Push | Nothing]) -> bool:
    """Return whether lag can explain that the commit is not in the history of its ref.

    Args:
        push: The push whose commit is missing.
        tip: Commit at which the server shows the ref; empty if it does not show the ref.
        later: Events that came after the push in the queue, as far as they are known.
    """
    of_ref = [each for each in later if each.repository == push.repository and each.ref == push.ref]
    if tip:
        # The server shows a newer push, and the commit is not in its history.
        newer = [each for each in of_ref if isinstance(each, Push) and _follows(each, push)]
        return not any(each.commit == tip for each in newer)
    return not any(isinstance(each, Nothing) for each in of_ref)  # the ref was deleted


def _follows(later: Push, push: Push) -> bool:
    """Return whether an event that came later is of a later push, and not an older one's repeat."""
    if not later.joins_order:
        return False  # a build of any commit of the ref was asked for
    if later.timed and push.timed and later.time != push.time:
        return later.time > push.time
    return later.commit != push.old_commit
