"""Processor time of a process and of everything that it has started, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PARENT, _UTIME, _CSTIME = 1, 11, 14  # proc(5), counted from `state`; stime, cutime between


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of the process itself, and of its children, living and ended."""

    own: float = 0.0
    children: float = 0.0

    @classmethod
    def of_tree(cls, pid: int) -> Self:
        """Return the processor time of the tree below `pid` so far, in steps of a clock tick."""
        fields = _read_all()
        own = children = 0
        tree = {pid}
        while more := {each for each, its in fields.items() if int(its[_PARENT]) in tree} - tree:
            tree |= more
        for each in tree & fields.keys():
            user, system, *ended = (int(value) for value in fields[each][_UTIME : _CSTIME + 1])
            children += sum(ended) if each == pid else user + system + sum(ended)
            own += user + system if each == pid else 0
        return cls(own / _TICKS_A_SECOND, children / _TICKS_A_SECOND)

    @property
    def total(self) -> float:
        """Seconds of both."""
        return self.own + self.children

    def __add__(self, other: Self) -> "Cpu":
        return Cpu(self.own + other.own, self.children + other.children)

    def __sub__(self, other: Self) -> "Cpu":
        return Cpu(self.own - other.own, self.children - other.children)


def _read_all() -> dict[int, list[bytes]]:
    """Return the fields of /proc/PID/stat behind the name, by process."""
    found: dict[int, list[bytes]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found[int(process.name)] = (process / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue  # the process ended
    return found
