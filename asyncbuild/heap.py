"""The C library's memory: one heap for all threads."""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h; mallopt(3)


def share_one_heap() -> None:
    """Let threads that begin from now on allocate where the first one does.

    glibc gives each thread an arena, and what is free in one is of no use to the others; nearly
    all of our allocations are made under the interpreter's lock, so that none of them waits for
    another. Elsewhere (musl) there are no arenas, and nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
