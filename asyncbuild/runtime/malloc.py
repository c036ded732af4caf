"""The C library's memory: one heap for all threads, which keeps what will be needed again."""

import ctypes
from typing import Final

# Their numbers in malloc.h (mallopt(3))
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_MIB: Final = 1024 * 1024
_KEPT_BYTES: Final = 16 * _MIB
_MAPPED_BYTES: Final = 4 * _MIB


def share_one_heap() -> None:
    """Let threads that begin from now on allocate where the first one does.

    glibc gives each thread an arena, and what is free in one is of no use to the others; nearly
    all of our allocations are made under the interpreter's lock, so that none of them waits for
    another. Elsewhere (musl) there are no arenas, and nothing is done.

    And let it keep what is free at its end: a chunk of a stream is longer than what glibc keeps by
    default, and each page of the next one is then fetched from the kernel again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
