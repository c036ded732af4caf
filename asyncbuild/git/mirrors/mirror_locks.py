"""Locks of a mirror, shared with other processes: held for use, for deletion, for a change."""

from contextlib import AbstractAsyncContextManager
from typing import Final

from asyncbuild.git.mirrors.directory import MirrorDirectory
from asyncbuild.runtime.locks import open_lock

_USE_WAIT_SECONDS: Final = 10.0


def open_for_use(place: MirrorDirectory, doing: str) -> AbstractAsyncContextManager[int]:
    """Keep a mirror from being deleted; as many as want to may use it at a time."""
    return open_lock(place.use_lock, shared=True, wait_seconds=_USE_WAIT_SECONDS, doing=doing)


def open_for_deletion(place: MirrorDirectory, doing: str) -> AbstractAsyncContextManager[int]:
    """Wait until a mirror is not used, and keep it from being used."""
    return open_lock(place.use_lock, shared=False, wait_seconds=_USE_WAIT_SECONDS, doing=doing)


def open_for_change(
    place: MirrorDirectory, doing: str, *, wait_seconds: float
) -> AbstractAsyncContextManager[int]:
    """Keep a mirror from being changed by others; it may be used meanwhile."""
    return open_lock(place.fetch_lock, shared=False, wait_seconds=wait_seconds, doing=doing)
