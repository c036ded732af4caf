"""Settings of the C library's allocator: one heap for all threads, which keeps freed memory."""

import ctypes
from typing import Final

# Parameter numbers of mallopt(3), as malloc.h defines them
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_MIB: Final = 1024 * 1024
_KEPT_BYTES: Final = 16 * _MIB
_MAPPED_BYTES: Final = 4 * _MIB


def share_one_heap() -> None:
    """Let all threads that start from now on allocate from one heap, which keeps freed memory.

    glibc gives each thread an arena, and free memory of one is of no use to the others; nearly all
    allocations of this service are made under the interpreter's lock, so that threads do not wait
    for each other. Elsewhere (musl) there are no arenas, and nothing is done.

    The heap keeps free memory at its end, because a chunk of a stream is longer than what glibc
    keeps by default, and each page of the next chunk would be fetched from the kernel again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
