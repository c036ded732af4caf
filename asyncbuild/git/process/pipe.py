"""Reader of a child's pipe, at the speed of the child, and only on request."""

import contextlib
import fcntl
import os
import termios
from array import array

import anyio

PIPE_BYTES = 1024 * 1024  # /proc/sys/fs/pipe-max-size by default: more needs privileges
_WORTH_BYTES = 64 * 1024
_PAUSE_SECONDS = 0.001


def make_pipe() -> tuple[int, int]:
    """Return a pipe of 1 MiB if the kernel allows it; reading never blocks, writing does."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    # The kernel refuses once the user's pipes hold 64 MiB (pipe-user-pages-soft); a small pipe
    # works, too.
    with contextlib.suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reading, writing


class PipeReader:
    """Read end of a pipe; while it is not read, the child blocks in its write (back-pressure)."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def receive(self) -> bytes:
        """Wait for bytes: at most 1 MiB, and none at the end of the stream.

        A child writes in small blocks (git archive: 10 KiB). One wake-up for each would cost more
        than the data, so after a wake-up with little in the pipe the child gets a millisecond to
        fill it.
        """
        while True:
            try:
                return os.read(self._descriptor, PIPE_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self._descriptor)
            if self._filled() < _WORTH_BYTES:
                await anyio.sleep(_PAUSE_SECONDS)

    def _filled(self) -> int:
        count = array("i", [0])
        fcntl.ioctl(self._descriptor, termios.FIONREAD, count)
        return count[0]
