"""Locks of a mirror, shared with other processes: held for use, for deletion, for a change."""

from contextlib import AbstractAsyncContextManager
from typing import Final

from asyncbuild.git.mirrors.directory import MirrorDirectory
from asyncbuild.runtime.locks import open_lock

_USE_WAIT_SECONDS: Final = 10.0


def open_for_use(place: MirrorDirectory, doing: str) -> AbstractAsyncContextManager[int]:
    """Keep a mirror from being deleted; any number of tasks may use it at a time."""
    return open_lock(place.use_lock, shared=True, wait_seconds=_USE_WAIT_SECONDS, doing=doing)


def open_for_deletion(place: MirrorDirectory, doing: str) -> AbstractAsyncContextManager[int]:
    """Wait until a mirror is not used, and keep it from being used."""
    return open_lock(place.use_lock, shared=False, wait_seconds=_USE_WAIT_SECONDS, doing=doing)


def open_for_change(
    place: MirrorDirectory, doing: str, *, wait_seconds: float
) -> AbstractAsyncContextManager[int]:
    """Keep others from changing a mirror; it may be used meanwhile.

    Args:
        place: The mirror.
        doing: What the caller does, for people.
        wait_seconds: Longest wait for the lock.
    """
    return open_lock(place.fetch_lock, shared=False, wait_seconds=wait_seconds, doing=doing)
