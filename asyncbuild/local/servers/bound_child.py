"""Become another program that dies with its parent: `python -I -S bound_child.py PARENT CMD...`.

A parent that is killed with SIGKILL cannot end its children, and a server left behind would hold
its memory and its port indefinitely. Linux can do it instead: `PR_SET_PDEATHSIG` of prctl(2)
survives exec, so this script sets it and then becomes the server, keeping its pid. (It cannot be
done in `preexec_fn`: that is unsafe with threads, and anyio does not offer it.) It imports nothing
of this package, so that it costs only the start of a bare interpreter. On systems without prctl the
server starts all the same.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Set the signal, then become the command."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the signal was set
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
