"""Preparation of the machine: no pending work, fast cores, input in memory.

A core of a virtual machine is often half of a real one, and the other half is a stranger's, or the
next core of ours. Measured: from one second to the next each did 1.8 times as much, or two together
hardly more than one alone, mostly after both had been busy for a while. Whatever uses two cores
then loses most of what they are for, and what uses one loses nothing. So every way begins when all
cores, tried at once, are nearly as fast as they ever were at once.

And what a way reads is in memory when it begins. Measured: a machine with 17 GiB to spare forgot a
file of 1 GiB within two minutes; to read it from disk took the system 1.8 s of CPU, which counts
for nothing where a core is idle anyway and for much where none is.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

_FAST: Final = 0.85  # share of the best figure of the slowest core
_REST_SECONDS: Final = 1.0
_TIMES: Final = 10  # trials of the cores before the first measurement
_SETTLE_SECONDS: Final = 0.3
_SETTLE_TIMES: Final = 20
_READ_BYTES: Final = 1 << 20

# Counts the work of one core in a fifth of a second, for each line of input.
_COUNT: Final = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.sched_setaffinity(0, {int(sys.argv[1])})
for line in sys.stdin:
    done, until = 0, time.perf_counter() + 0.2
    while time.perf_counter() < until:
        for number in range(20000):
            pass
        done += 1
    print(done, flush=True)
"""


def settle(server_seconds: Callable[[], float]) -> None:
    """Wait for pending work of the last way: pages to write, the server's clean-up."""
    os.sync()
    for _ in range(_SETTLE_TIMES):
        before = server_seconds()
        time.sleep(_SETTLE_SECONDS)
        if server_seconds() - before <= _SETTLE_SECONDS / 10:
            break


def read_through(path: Path) -> None:
    """Read a file, or all below a directory, into the system's page cache."""
    buffer = bytearray(_READ_BYTES)
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb", buffering=0) as opened:
                while opened.readinto(buffer):
                    pass


@contextmanager
def open_cores() -> Iterator["Cores"]:
    """Start a process for each core that this one may use; it sleeps until it is asked."""
    with ExitStack() as stack:
        yield Cores([stack.enter_context(_counter(core)) for core in os.sched_getaffinity(0)])


def _counter(core: int) -> subprocess.Popen[str]:
    order = [sys.executable, "-S", "-E", "-c", _COUNT, str(core)]
    return subprocess.Popen(order, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Cores:
    """Speed of the cores that this process may use; `open_cores` makes it."""

    def __init__(self, counters: list[subprocess.Popen[str]]) -> None:
        self._counters = counters
        self._best = 0  # best figure of any core, and of the slowest when all work
        self._best_at_once = 0
        for _ in range(_TIMES):
            for counter in counters:
                self._count([counter])
            self._count(counters)

    def wait(self, most_seconds: float) -> float:
        """Wait until all cores are fast, for a limited time.

        Return the number of fast cores then.
        """
        until = time.monotonic() + most_seconds
        while True:
            done = self._count(self._counters)
            if min(done) >= _FAST * self._best_at_once or time.monotonic() > until:
                return sum(done) / self._best
            time.sleep(_REST_SECONDS)

    def _count(self, counters: list[subprocess.Popen[str]]) -> list[int]:
        """Return the work of each core, all counted at the same time."""
        for counter in counters:
            print(file=_pipe(counter.stdin), flush=True)
        done = [int(_pipe(counter.stdout).readline()) for counter in counters]
        self._best = max(self._best, *done)
        if len(done) == len(self._counters):
            self._best_at_once = max(self._best_at_once, min(done))
        return done


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise AssertionError("a process without its pipes")
    return stream
