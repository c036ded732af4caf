"""Temporary directories that are removed in the end, even if the process is killed.

A process that is killed cannot tidy up. So each directory has a file that its owner keeps locked,
and the kernel frees the lock with the process: the process that makes the next directory removes
those beside it whose lock is free.
"""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from asyncbuild.domain.errors import ConfigError, Retry
from asyncbuild.runtime.emit import emit

_LOCK = ".owner"
_MORE_CLEANUPS = 20
_CLEANUP_PAUSE_SECONDS = 0.1
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REMEDY = "name another directory with the environment variable TMPDIR"


@contextmanager
def open_scratch(prefix: str) -> Iterator[Path]:
    """Make a temporary directory, and remove it in the end.

    Args:
        prefix: Beginning of its name; directories of the same prefix that killed processes left
            behind are removed, too.

    Raises:
        ConfigError: A directory can be made nowhere.
        Retry: The place is full.
    """
    with ExitStack() as stack:
        try:
            directory = Path(tempfile.mkdtemp(prefix=prefix))
            stack.callback(_remove, directory)
            stack.enter_context(_held(directory))
        except OSError as error:
            raise _no_place(error) from error
        _sweep(directory.parent, prefix)
        yield directory
    if directory.exists():
        from asyncbuild.domain.events.service_events import ScratchLeft  # noqa: PLC0415 - rare

        emit(ScratchLeft(directory=str(directory)))


def free_bytes(directory: Path) -> int:
    """Return the bytes that this user may still write below a directory.

    A directory that does not exist counts as its nearest parent that does.
    """
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    return shutil.disk_usage(existing).free


def is_full(error: BaseException) -> bool:
    """Return whether an error says that a disk has no room left."""
    return isinstance(error, OSError) and error.errno in _FULL


def _no_place(error: OSError) -> ConfigError | Retry:
    if is_full(error):
        where = Path(tempfile.gettempdir())
        reason = f"no room in {where} for temporary files: {free_bytes(where):,} bytes free"
        return Retry(reason, remedy=_REMEDY)
    return ConfigError(
        f"no place for temporary files: {error.strerror or error}",
        remedy="name a directory that this user may write with the environment variable TMPDIR",
    )


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Lock a file of the directory while inside; the file gets its name only once it is locked."""
    with (directory / f"{_LOCK}.new").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Path(file.name).rename(directory / _LOCK)
        yield


def _sweep(place: Path, prefix: str) -> None:
    """Remove the directories of this user whose owner has ended."""
    for lock in place.glob(f"{prefix}*/{_LOCK}"):
        with suppress(OSError):  # another user's, held, or just being removed
            if lock.parent.is_symlink() or lock.stat().st_uid != os.geteuid():
                continue
            with lock.open("r") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _delete(lock.parent)


def _remove(directory: Path) -> None:
    """Remove a directory, with retries.

    A killed process, such as a child of git, may be in the midst of a last write.
    """
    _delete(directory)
    for _ in range(_MORE_CLEANUPS):
        if not directory.exists():
            return
        time.sleep(_CLEANUP_PAUSE_SECONDS)
        _delete(directory)


def _delete(directory: Path) -> None:
    """Delete a tree with one open file at a time, for a process that has no more; its lock last.

    `shutil.rmtree` holds one for each level, and a rest without a lock would never be removed.
    """
    for root, directories, files in os.walk(directory, topdown=False):
        for name in files:
            if name != _LOCK:
                with suppress(OSError):
                    os.unlink(f"{root}/{name}")  # noqa: PTH108 - no object for each of many
        for name in directories:
            path = f"{root}/{name}"
            with suppress(OSError):
                (os.unlink if os.path.islink(path) else os.rmdir)(path)  # noqa: PTH114 - the same
    with suppress(OSError):
        if {_LOCK}.issuperset(os.listdir(directory)):  # noqa: PTH208 - names alone
            (directory / _LOCK).unlink(missing_ok=True)
            directory.rmdir()
