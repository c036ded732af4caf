"""Reader of a child's pipe, at the speed of the child, and only on request."""

import fcntl
import os
import select
import termios
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

import anyio

from asyncbuild.git.formats.error_classes import machine_error
from asyncbuild.runtime.write_all import write_all

PIPE_BYTES = 1024 * 1024  # /proc/sys/fs/pipe-max-size by default: more needs privileges
_WORTH_BYTES = 64 * 1024
_SHORT_BYTES = 64 * 1024
_PAUSE_SECONDS = 0.001


def make_pipe(*, wide: bool = True) -> tuple[int, int]:
    """Make a pipe, of 1 MiB if it is to be wide and the kernel allows it; reading never blocks."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    if wide:
        # Refused once the user's pipes hold 64 MiB (pipe-user-pages-soft); a small one works, too.
        with suppress(OSError):
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

    async def receive_now(self) -> bytes:
        """Wait for bytes as `receive`, but return the first ones at once: short answers."""
        while True:
            try:
                return os.read(self._descriptor, _SHORT_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self._descriptor)

    def is_readable(self) -> bool:
        """Return whether there is output, or the end of it."""
        poll = select.poll()  # select(2) takes no descriptor above 1023
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def _filled(self) -> int:
        count = array("i", [0])
        fcntl.ioctl(self._descriptor, termios.FIONREAD, count)
        return count[0]


@contextmanager
def open_pipe(doing: str, *, wide: bool = True) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Open a pipe for a child: read end, then write end.

    Args:
        doing: What the child does, for people.
        wide: Whether much goes through it.

    Raises:
        StageError: The machine refuses one.
    """
    try:
        reading, writing = make_pipe(wide=wide)
    except OSError as error:
        raise machine_error(error, f"{doing}: no pipe for git") from error
    with (
        os.fdopen(reading, "rb", buffering=0) as source,
        os.fdopen(writing, "wb", buffering=0) as end,
    ):
        yield source, end


@contextmanager
def open_file(stdin: bytes, doing: str) -> Iterator[IO[bytes]]:
    """Open memory as a file, which git reads at its own pace without a task to feed it.

    Raises:
        StageError: The machine refuses one.
    """
    try:
        file = os.fdopen(os.memfd_create("stdin"), "w+b", buffering=0)
    except OSError as error:
        raise machine_error(error, f"{doing}: no file for git's input") from error
    with file:
        write_all(file.write, stdin)
        file.seek(0)
        yield file
