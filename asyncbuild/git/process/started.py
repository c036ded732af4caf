"""A started git: its output, its exit code, and its end."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

import anyio

from asyncbuild.git.formats.error_classes import stage_error
from asyncbuild.git.formats.process_kinds import ProcessKind
from asyncbuild.git.process.limits import ProcessLimits
from asyncbuild.git.process.pipe import PipeReader
from asyncbuild.git.process.stderr import StderrTail
from asyncbuild.git.process.watchdog import Watchdog
from asyncbuild.runtime.child import Child

_TERM_SECONDS: Final = 2.0


@dataclass(slots=True)
class Stdout:
    """Standard output of a started git, chunk by chunk; after the last one, its exit code."""

    process: Child
    pipe: PipeReader
    tail: StderrTail
    doing: str
    work: ProcessKind
    good: frozenset[int]
    limits: ProcessLimits
    watchdog: Watchdog

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.watchdog.wait(
            self.pipe.receive,
            earned_seconds=self.limits.earned_seconds,
            received_bytes=lambda: self.tail.received_bytes,
        )
        if chunk:
            self.limits.note_output(len(chunk))
            return chunk
        await self.wait()
        raise StopAsyncIteration

    async def wait(self) -> int:
        """Return the exit code, once standard output is at its end; raise for a failure."""
        code = await self.process.wait()
        if code in self.good:
            return code
        self.limits.check(code, self.doing)
        self.tail.drain()
        ended = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
        remote = self.work is ProcessKind.FETCH
        self.limits.check_memory(self.tail.text, self.doing)
        error = stage_error(self.tail.text, doing=self.doing, ended=ended, remote=remote)
        error.peer = "git" if remote else ""
        raise error


async def end(process: Child, tail: StderrTail) -> None:
    """End the whole group and reap the child; SIGTERM first, on which git removes its lock files.

    Children of a git that is gone already (a transport helper) are still in the group. If their end
    of the stderr pipe is open, the group exists, and its number is not another's.
    """
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with anyio.move_on_after(_TERM_SECONDS):
            await process.wait()
    if process.returncode is None or not tail.at_end():
        _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def kill(process: Child) -> None:
    """Kill the whole group of a process that is not reaped yet; nothing happens if it is."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
