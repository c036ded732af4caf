"""Arenas in which threads allocate."""

import subprocess
import sys
from platform import libc_ver

import pytest

_COUNT = """
import ctypes, threading
from asyncbuild.runtime.malloc import share_one_heap
if {shared}: share_one_heap()
barrier = threading.Barrier(4)
def allocate():
    barrier.wait()
    kept = [bytearray(50_000) for _ in range(20)]
    barrier.wait()
threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
output = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, output)
libc.fflush(output)
"""


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="others have no arenas")
def test_threads_share_one_heap() -> None:
    """After the call all threads allocate in the first arena; without it they have others."""

    def heaps(*, shared: bool) -> int:
        command = [sys.executable, "-c", _COUNT.format(shared=shared)]
        return subprocess.run(command, capture_output=True, check=True).stdout.count(b"<heap")

    assert heaps(shared=True) == 1
    assert heaps(shared=False) > 1


_FETCH = """
import resource
from asyncbuild.runtime.malloc import share_one_heap
if {kept}: share_one_heap()
def allocate():
    for _ in range(100):
        chunks = [bytearray(1_310_720) for _ in range(4)]
allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
allocate()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="others give back as they see fit")
def test_freed_chunks_are_reused_without_the_kernel() -> None:
    """Without the call each chunk's pages are mapped again."""

    def faults(*, kept: bool) -> int:
        command = [sys.executable, "-c", _FETCH.format(kept=kept)]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    assert faults(kept=True) < 1_000 < faults(kept=False)
