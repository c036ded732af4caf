"""Descendants of a process and processes still running, read from /proc."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

_STATE, _PARENT, _STARTED = 0, 1, 19  # proc(5) /proc/pid/stat, counted from `state`


class Process(NamedTuple):
    """One process; the pair of pid and start time is unique."""

    pid: int
    started: int
    command: str


def family(pid: int) -> dict[Process, str]:
    """Return all descendants of a process, each with its command line."""
    children: dict[int, list[int]] = {}
    for number, fields in _all().items():
        children.setdefault(int(fields[_PARENT]), []).append(number)
    found: dict[Process, str] = {}
    left = [pid]
    while left:
        for child in children.get(left.pop(), []):
            left.append(child)
            for process in _look(child):
                found[process] = process.command
    return found


def alive(processes: Iterable[Process]) -> list[Process]:
    """Return the processes that have not ended; a zombie has."""
    return [each for each in processes if _lives(each)]


def mentioning(text: str) -> list[Process]:
    """Return all processes with a text in their command line or first environment."""
    return [
        process
        for number in _all()
        if text in _read(number, "cmdline") + _read(number, "environ")
        for process in _look(number)
    ]


def _lives(process: Process) -> bool:
    fields = _all().get(process.pid)
    return fields is not None and int(fields[_STARTED]) == process.started and fields[_STATE] != "Z"


def _look(number: int) -> list[Process]:
    fields = _all().get(number)
    if fields is None or fields[_STATE] == "Z":
        return []
    command = _read(number, "cmdline").replace("\0", " ").strip()
    return [Process(number, int(fields[_STARTED]), command)]


def _all() -> Mapping[int, list[str]]:
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            text = (directory / "stat").read_text(errors="replace")
        except OSError:
            continue  # it ended
        found[int(directory.name)] = text.rpartition(")")[2].split()
    return found


def _read(number: int, name: str) -> str:
    try:
        return Path(f"/proc/{number}/{name}").read_text(errors="replace")
    except OSError:
        return ""
