"""Program of `runtime/child_guard.py`: ends the marked processes of an owner that died.

It runs as a file of its own, without this package, so that it takes little memory.
"""

import os
import signal
import sys
import time

_SWEEPS_MOST = 250
_QUIET_SWEEPS = 3  # one may see a child of the owner just before it has its own environment
_PAUSE_SECONDS = 0.02


def sweep(mark: bytes) -> int:
    """Send SIGKILL to each process of this user whose first environment has `mark` in it.

    A pidfd names the process that was examined, even if the kernel reuses its number meanwhile.

    Returns:
        The number of processes that were killed.
    """
    found = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - no pathlib in here
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        try:
            process = os.pidfd_open(int(name))
        except OSError:
            continue  # the process ended
        try:
            with open(f"/proc/{name}/environ", "rb") as environment:  # noqa: PTH123 - as above
                marked = mark in environment.read().split(b"\0")
            if marked:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                found += 1
        except OSError:
            pass  # the process belongs to another user, or it ended
        finally:
            os.close(process)
    return found


def main() -> None:
    """Wait until standard input ends, as it does with the owner, then end its children."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    mark = sys.argv[1].encode()
    while os.read(0, 1):
        pass
    quiet = 0
    for _ in range(_SWEEPS_MOST):
        quiet = 0 if sweep(mark) else quiet + 1
        if quiet == _QUIET_SWEEPS:
            return
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
