"""Locks that processes on one disk share.

flock(2): the lock belongs to the open file, so it ends with the last process that has it open. A
git that inherited the descriptor keeps the lock even if the service is killed, and the next process
waits until that git has ended too.
"""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
from anyio import to_thread

from asyncbuild.domain.errors import Busy

_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.25


@asynccontextmanager
async def open_lock(
    path: Path, *, shared: bool, wait_seconds: float, doing: str
) -> AsyncIterator[int]:
    """Hold a lock; yield its file descriptor.

    Polls, because a blocking flock can neither run in the loop nor be cancelled in a thread.

    Args:
        path: File of the lock; created if it does not exist.
        shared: Whether others may hold a shared lock at the same time.
        wait_seconds: Longest wait.
        doing: The purpose of the lock, for the error.

    Raises:
        Busy: Other processes held it all the time.
    """
    descriptor = await to_thread.run_sync(_open, path)
    try:
        pause = _FIRST_PAUSE_SECONDS
        deadline = anyio.current_time() + wait_seconds
        while not take_nowait(descriptor, shared=shared):
            if anyio.current_time() >= deadline:
                raise Busy(f"{doing}: {path} is held by another process for {wait_seconds:g} s")
            await anyio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def take_nowait(descriptor: int, *, shared: bool) -> bool:
    """Take the lock if it is free; return whether it was taken."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def hold_nowait(path: Path) -> Iterator[bool]:
    """Hold a lock exclusively for a moment if it is free; blocks only for the disk."""
    descriptor = _open(path)
    try:
        yield take_nowait(descriptor, shared=False)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
