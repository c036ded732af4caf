"""Wait for a new file in a directory, without polling: inotify(7)."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_IN_CREATE: Final = 0x100
_IN_MOVED_TO: Final = 0x80
_libc = ctypes.CDLL(None)


@contextmanager
def open_watch(directory: Path) -> Iterator[int | None]:
    """Open a descriptor that becomes readable when a name appears in a directory.

    Yields:
        The descriptor; None if the directory does not exist, or the user has no watch left
        (`fs.inotify`): poll then.
    """
    descriptor: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        yield None
        return
    try:
        path, events = os.fsencode(directory), _IN_CREATE | _IN_MOVED_TO
        watch: int = _libc.inotify_add_watch(descriptor, path, events)
        yield None if watch < 0 else descriptor
    finally:
        os.close(descriptor)
