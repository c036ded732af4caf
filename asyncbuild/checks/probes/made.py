"""What the probes make in an account, and how each of it goes away again.

All of it has one name, `asyncbuild-probe-TIME-RANDOM`, and one tag. How to take a thing away is
noted before it is made: an answer that is lost may have made it all the same.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio

from asyncbuild.domain.errors import StageError

TAG = "asyncbuild-probe"
_CLEAN_UP_SECONDS = 60.0


@dataclass(slots=True)
class ProbeRun:
    """One run of the probes.

    Attributes:
        name: What everything of this run is called; at most 64 characters of a-z, 0-9 and -.
        left: What could not be taken away, and why; filled at the end.
        interrupted: Exit code of the signal that ended the run before its time; 0 if none did.
    """

    name: str
    left: list[str] = field(default_factory=list)
    interrupted: int = 0
    _undo: list[tuple[str, Callable[[], Awaitable[object]]]] = field(default_factory=list)

    def will_make(self, what: str, undo: Callable[[], Awaitable[object]]) -> None:
        """Note how `what` is taken away. Call it before `what` is made.

        `undo` must be content if there is nothing to take away.
        """
        self._undo.append((what, undo))

    async def undo(self) -> None:
        """Take everything away, the last thing first; what fails is noted in `left`."""
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
    """A name for one run: when, and something that no other run has."""
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dt%H%M%S")
    return f"{TAG}-{moment}-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def open_made(made: ProbeRun) -> AsyncIterator[ProbeRun]:
    """Take away what was made inside, also on a signal or an error; nested, each its own things."""
    try:
        yield made
    finally:
        with anyio.CancelScope(shield=True):
            await made.undo()
