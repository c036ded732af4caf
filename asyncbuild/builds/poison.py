"""Detection of poison messages: each try is marked in the ledger before it begins.

A process that dies cannot report which push killed it, so the mark that remains does. A death may
be blamed only on a push in flight (I5). A process has many in flight, so the last allowed try is
made alone: nothing else is prepared beside it, and a death during it was caused by that push.
"""

from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress

import anyio

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.errors import Reject, StageError
from asyncbuild.domain.model import Message
from asyncbuild.runtime.bell import Bell

_CLEAN_UP_SECONDS = 5


class Tries:
    """Counts the processes that a push has killed, and rejects it at the limit."""

    def __init__(self, ledger: Ledger, *, max_attempts: int) -> None:
        self._ledger = ledger
        self._max_attempts = max_attempts
        self._room = _ReadWriteLock()
        self._survived: set[tuple[str, int]] = set()  # tries whose marks could not be removed

    @asynccontextmanager
    async def open_try(self, message: Message, *, suspect: bool) -> AsyncIterator[None]:
        """Mark a try while the body prepares a push.

        Args:
            message: The message of the push.
            suspect: Whether it was delivered before; if not, nothing is marked.

        Raises:
            Reject: As many processes have died of it as are allowed.
            StageError: The ledger could not be read or written.
        """
        if not suspect:
            async with self._room.open_shared():
                yield
            return
        marked = await self._ledger.find_tries(message)
        died = {number for number in marked if (message.id, number) not in self._survived}
        if len(died) >= self._max_attempts:
            raise Reject(
                f"{len(died)} processes died while they prepared this push",
                remedy="look for memory, disk or a signal in the logs of the tasks that ended",
            )
        last = len(died) + 1 >= self._max_attempts
        number = free_number(died)
        async with self._room.open_alone() if last else self._room.open_shared():
            await self._ledger.mark_try(message, number)
            try:
                yield
            finally:
                await self._unmark(message, number)

    async def _unmark(self, message: Message, number: int) -> None:
        """Remove the mark of a try; remember in memory that it was survived, in case that fails."""
        self._survived.add((message.id, number))
        with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True), suppress(StageError):
            await self._ledger.unmark_try(message, number)
            self._survived.discard((message.id, number))


def free_number(marked: AbstractSet[int]) -> int:
    """Return the least number that is not marked.

    The number of marks would not do: after a lost lease two processes mark tries of one message,
    and what remains may be try 1 alone. The next death would be marked as 1 again, and never be
    counted.
    """
    return min(set(range(len(marked) + 1)) - marked)


class _ReadWriteLock:
    """Lock that many tasks may share or one may hold alone; a waiting exclusive one goes first."""

    def __init__(self) -> None:
        self._inside = 0
        self._door = anyio.Lock()
        self._left = Bell()

    @asynccontextmanager
    async def open_shared(self) -> AsyncIterator[None]:
        async with self._door:
            self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._left.ring()

    @asynccontextmanager
    async def open_alone(self) -> AsyncIterator[None]:
        async with self._door:
            while self._inside:
                await self._left.wait()
            yield
