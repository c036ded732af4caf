"""A child process that is waited for without a thread.

On Python 3.11 asyncio starts a thread for each child. Of eight gits started at once the last one
began 10 ms later for it, which is longer than it takes to its first byte. A process's file
descriptor, pidfd_open(2), becomes readable when the process ends.
"""

import os
import resource
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import anyio
from anyio import to_thread

MARKS: Final[dict[str, str]] = {}
"""Variables that every child gets: `runtime/child_guard.py` knows it by them."""


class Child:
    """A started process, in a session of its own. Whoever starts it waits for it, then closes it.

    Args:
        arguments: With the name of the program.
        environment: All of it, but for `MARKS`.
        stdin: A file descriptor, as `stdout` and `stderr`.
        stdout: See there.
        stderr: See there.
        descriptors: What the child keeps open beside.
        program: The file to execute, where that is not what the first argument names.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        arguments: Sequence[bytes],
        environment: Mapping[str, str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        descriptors: Sequence[int] = (),
        program: str | None = None,
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - no shell
            arguments,
            executable=program,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**environment, **MARKS},
            start_new_session=True,
            pass_fds=descriptors,
        )
        self._ended: int | None = None
        with suppress(OSError):  # an old kernel, too many open files
            self._ended = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """Number of the process, and of its group."""
        return self._process.pid

    def limit(self, kind: int, most: int) -> None:
        """Set a limit of the running process (prlimit(2)); its children inherit what is set then.

        Args:
            kind: Of the limit, such as `resource.RLIMIT_CPU`.
            most: Its value, in the limit's own unit; at most what the kernel allows this user.
        """
        with suppress(OSError):  # it has ended, or a sandbox has no such call
            _, hard = resource.prlimit(self.pid, kind)
            soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.prlimit(self.pid, kind, (soft, hard))

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None until it was waited for."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end, reap the process, return its exit code. One task at a time."""
        if self._process.returncode is None:
            if self._ended is None:
                return await to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
            await anyio.wait_readable(self._ended)
        return self._process.wait()  # it has ended: this does not block

    def close(self) -> None:
        """Give back what it took to wait."""
        if self._ended is not None:
            os.close(self._ended)
            self._ended = None
