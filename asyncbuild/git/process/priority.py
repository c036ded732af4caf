"""Lower processor priority for a git that computes for long and writes little.

Some trees and packs keep a git computing until a limit ends it (`limits.py`), and a few of them
would take every core from the short gits of other pushes. The cost of a git cannot be known before.
One that has computed for a second without writing anything is not short: from then on it gets a
tenth of what each other gets, or all that they leave. Its limits stay as they are.

A long fetch or listing of an honest repository is treated the same, and other programs of the
machine compete with it: so the priority is not the lowest, with which it might never end.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

_FREE_SECONDS: Final = 1.0  # of processor time, beyond what the output is worth
_LOWERED: Final = 10  # setpriority(2): a tenth of a processor's time against one at 0; 19 is a 70th
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 5.0
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_STATE, _PGRP, _UTIME, _STIME = 0, 2, 11, 12  # proc(5) /proc/pid/stat, counted from `state`


class Priority:
    """Watches one process group, ever more rarely, until its priority is lowered.

    Args:
        group: Number of the group, which is that of its first process and of its session.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._look_at = anyio.current_time() + self._pause_seconds

    def seconds_left(self) -> float:
        """Return the seconds until the next look; infinite after the last one."""
        return max(0.0, self._look_at - anyio.current_time())

    async def look(self, earned_seconds: float) -> int:
        """Return the group's processor time in clock ticks; lower its priority if it is due.

        Args:
            earned_seconds: Processor time that its output so far is worth.
        """
        due = self.seconds_left() == 0
        free_seconds = _FREE_SECONDS + earned_seconds
        ticks, lowered = await to_thread.run_sync(self._look, free_seconds if due else None)
        if lowered:
            self._look_at = float("inf")
        elif due:
            self._pause_seconds = min(self._pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
            self._look_at = anyio.current_time() + self._pause_seconds
        return ticks

    def _look(self, free_seconds: float | None) -> tuple[int, bool]:
        ticks = _ticks_of(self._group)
        if free_seconds is None or ticks < free_seconds * _TICKS_A_SECOND:
            return ticks, False
        return ticks, _lower(self._group)


def _ticks_of(group: int) -> int:
    """Return the processor time of all living members of a process group, in clock ticks.

    The sum falls when a member ends; any change is a sign of life.

    As long as the first process lives, only its descendants are looked at: a look at the hundred
    processes of a machine took 2 ms. If it has ended, its children may still work.
    """
    try:
        processes = _descendants(group)
    except OSError:  # it has ended, or the kernel has no lists of children
        processes = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    total = 0
    for process in processes:
        with suppress(OSError):  # the process ended
            fields = _stat(process)
            if int(fields[_PGRP]) == group:
                total += int(fields[_UTIME]) + int(fields[_STIME])
    return total


def _descendants(process: int) -> list[int]:
    """Return a living process and its descendants, without those of a process that has ended.

    Source: proc(5), /proc/pid/task/tid/children.

    Raises:
        OSError: The process has ended, or the kernel has no such lists.
    """
    if _stat(process)[_STATE] == b"Z":
        raise ProcessLookupError(process)
    found = [process]
    for thread in Path(f"/proc/{process}/task").iterdir():
        for child in (thread / "children").read_bytes().split():
            with suppress(OSError):  # the child ended
                found += _descendants(int(child))
    return found


def _stat(process: int) -> list[bytes]:
    """Return the fields of /proc/pid/stat from `state` on. Raises OSError: there is none."""
    # The name in parentheses may contain anything, a parenthesis too.
    return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()


def _lower(group: int) -> bool:
    """Lower the priority of a group; return False if the kernel wants the request repeated later.

    If processes are in no control group, Linux shares processors between sessions first (sched(7),
    "The autogroup feature"): a process's own priority counts in its session alone, and each of
    these groups is a session.
    """
    asked_again = False
    try:
        Path(f"/proc/{group}/autogroup").write_text(f"{_LOWERED}")
    except BlockingIOError:
        asked_again = True  # without privileges one such request in 0.1 s is accepted
    except OSError:
        pass  # the group has ended, or the kernel has no autogroups
    with suppress(OSError):  # the group has ended
        os.setpriority(os.PRIO_PGRP, group, _LOWERED)
    return not asked_again
