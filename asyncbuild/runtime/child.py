"""A child process that is waited for without a thread.

On Python 3.11 asyncio starts a thread for each child. Of eight gits started at once the last one
began 10 ms later because of that, which is longer than its time to the first byte. A process's file
descriptor, pidfd_open(2), becomes readable when the process ends.
"""

import os
import resource
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import anyio
from anyio import to_thread

MARKS: Final[dict[str, str]] = {}
"""Environment variables that every child gets: `runtime/child_guard.py` finds children by them."""


_UTIME, _STIME = 11, 12  # proc(5) /proc/pid/stat, counted from `state`
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ChildFiles:
    """File descriptors that a child keeps open.

    Attributes:
        stdin: Becomes its standard input.
        stdout: Becomes its standard output.
        stderr: Becomes its standard error.
        others: Others, which keep their numbers.
    """

    stdin: int
    stdout: int
    stderr: int
    others: Sequence[int] = ()


class Child:
    """A started process, in a session of its own.

    The code that starts it waits for its end, then closes it.

    Args:
        arguments: Argument vector, the program's name first.
        environment: The whole environment, except `MARKS`.
        files: File descriptors that it keeps open.
        program: The file to execute, where the first argument does not name it.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self,
        arguments: Sequence[bytes],
        environment: Mapping[str, str],
        files: ChildFiles,
        *,
        program: str | None = None,
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - no shell
            arguments,
            executable=program,
            stdin=files.stdin,
            stdout=files.stdout,
            stderr=files.stderr,
            env={**environment, **MARKS},
            start_new_session=True,
            pass_fds=files.others,
        )
        self._ended: int | None = None
        with suppress(OSError):  # an old kernel, too many open files
            self._ended = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """Id of the process, and of its process group."""
        return self._process.pid

    def limit(self, kind: int, most: int) -> None:
        """Set a limit of the running process (prlimit(2)); its later children inherit it.

        Args:
            kind: Resource, such as `resource.RLIMIT_CPU`.
            most: Its value, in the limit's own unit; at most what the kernel allows this user.
        """
        with suppress(OSError):  # the process has ended, or a sandbox has no such call
            _, hard = resource.prlimit(self.pid, kind)
            soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.prlimit(self.pid, kind, (soft, hard))

    def spent_seconds(self) -> float:
        """Return the processor time of the process so far; 0 if it has ended."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - a short read
                # The name in parentheses may contain anything, a parenthesis too.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS_A_SECOND

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None until it was waited for."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end, reap the process, return its exit code. One task at a time."""
        if self._process.returncode is None:
            if self._ended is None:
                return await to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
            await anyio.wait_readable(self._ended)
        return self._process.wait()  # the process has ended: this does not block

    def close(self) -> None:
        """Close the descriptor that is used for waiting."""
        if self._ended is not None:
            os.close(self._ended)
            self._ended = None
