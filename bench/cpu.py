"""Processor time and memory of this process, its children and its compression workers."""

import os
import resource
from pathlib import Path

_WORKER = b"asyncbuild.zip.worker"


def cpu_seconds() -> float:
    """Return seconds of this process, of children that have ended, and of running workers."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ended = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return ended + sum(_ticks(worker) for worker in _workers()) / os.sysconf("SC_CLK_TCK")


def peak_bytes() -> int:
    """Return the peak of this process, with the memory that its workers do not share with it.

    What they share with it, slots and pages of files (Python, libraries), counts once.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return own + sum(_own_peak_bytes(worker) for worker in _workers())


def _workers() -> list[Path]:
    """Return the /proc directories of the compression workers."""
    lists = Path("/proc/self/task").glob("*/children")
    children = [Path("/proc", pid) for each in lists for pid in each.read_text().split()]
    return [child for child in children if _WORKER in (child / "cmdline").read_bytes()]


def _ticks(process: Path) -> int:
    after_name = (process / "stat").read_text().rpartition(")")[2].split()
    return int(after_name[11]) + int(after_name[12])  # utime and stime of proc(5)


def _own_peak_bytes(process: Path) -> int:
    status = (process / "status").read_text()
    peak, shared = (int(status.partition(name)[2].split()[0]) for name in ("VmHWM:", "RssShmem:"))
    return (peak - shared) * 1024
