"""Record of what the probes make in an account, and how each of it is removed.

All of it has one name, `asyncbuild-probe-TIME-RANDOM`, and one tag. The removal of a thing is
recorded before the thing is made: a call whose answer is lost may have made it all the same.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio

from asyncbuild.domain.errors import StageError

TAG = "asyncbuild-probe"
VARIABLE = "ASYNCBUILD_PROBE"  # of the builds of a run: its name
_CLEAN_UP_SECONDS = 60.0


@dataclass(slots=True)
class ProbeRun:
    """One run of the probes.

    Attributes:
        name: Name of everything that this run makes; at most 64 characters of a-z, 0-9 and -.
        left: Things that could not be removed, and why; filled at the end.
        interrupted: Exit code of the signal that ended the run before its time; 0 if none did.
    """

    name: str
    left: list[str] = field(default_factory=list)
    interrupted: int = 0
    _undo: list[tuple[str, Callable[[], Awaitable[object]]]] = field(default_factory=list)

    def will_make(self, what: str, undo: Callable[[], Awaitable[object]]) -> None:
        """Record how `what` is removed. Call it before `what` is made.

        `undo` must succeed if there is nothing to remove.
        """
        self._undo.append((what, undo))

    async def undo(self) -> None:
        """Remove everything, the last thing first; record failures in `left`."""
        while self._undo:
            what, undo = self._undo.pop()
            try:
                with anyio.fail_after(_CLEAN_UP_SECONDS):
                    await undo()
            except StageError as error:
                self.left.append(f"{what}: {error.reason}")
            except TimeoutError:
                self.left.append(f"{what}: not done after {_CLEAN_UP_SECONDS:g} s")


def make_name(now: datetime | None = None) -> str:
    """Return a name for one run: its time, and a random part that no other run has."""
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dt%H%M%S")
    return f"{TAG}-{moment}-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def open_made(made: ProbeRun) -> AsyncIterator[ProbeRun]:
    """Remove the things that were made inside, also on a signal or an error; may be nested."""
    try:
        yield made
    finally:
        with anyio.CancelScope(shield=True):
            await made.undo()
