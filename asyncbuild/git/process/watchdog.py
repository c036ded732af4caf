"""Time limits of a git: for its silence, and for all its output."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.process.priority import Priority


def too_slow(doing: str, seconds: float) -> GitFailed:
    """Return the error for a git that takes longer than `git.timeout_seconds`."""
    return GitFailed(
        f"{doing}: not done after {seconds:g} s",
        fault=GitFault.SILENT,
        remedy="raise git.timeout_seconds if the repository needs it",
    )


@dataclass(slots=True)
class Watchdog:
    """Limits the time that one git is waited for; the reader's own pauses do not count.

    Attributes:
        doing: What git does, for people.
        silence_seconds: Longest time without a sign of life.
        most_seconds: Longest wait in all.
        priority: Lowered while git computes.
        waited_seconds: Wait so far.
    """

    doing: str
    silence_seconds: float
    most_seconds: float
    priority: Priority
    waited_seconds: float = 0.0

    async def wait(
        self,
        receive: Callable[[], Awaitable[bytes]],
        *,
        earned_seconds: float,
        received_bytes: Callable[[], int],
    ) -> bytes:
        """Read once, unless git shows no sign of life for too long, or was waited for too long.

        Signs of life are output, progress on standard error, and time spent on a processor: git may
        compute in silence for minutes (connectivity of a large fetch, repack).

        Args:
            receive: Waits for output.
            earned_seconds: Processor time that the output so far is worth.
            received_bytes: Returns the length of standard error so far.

        Raises:
            GitFailed: A limit is reached.
        """
        started = anyio.current_time()
        seen, since = (0, 0), started
        end = started + self.most_seconds - self.waited_seconds
        while True:
            left = end - anyio.current_time()
            pause = min(self.silence_seconds / 2, self.priority.seconds_left())
            with anyio.move_on_after(min(pause, left)):
                chunk = await receive()
                self.waited_seconds += anyio.current_time() - started
                return chunk
            now = anyio.current_time()
            if now >= end:
                raise too_slow(self.doing, self.most_seconds)
            ticks = await self.priority.look(earned_seconds)
            signs = received_bytes(), ticks
            if signs != seen:
                seen, since = signs, now
            elif now - since >= self.silence_seconds:
                raise GitFailed(
                    f"{self.doing}: git was silent for {self.silence_seconds:g} s, ended",
                    fault=GitFault.SILENT,
                    remedy="raise git.silence_timeout_seconds if the server is that slow",
                )
