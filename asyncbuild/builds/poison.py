"""Who dies with a push in hand cannot report it: tries are marked in the ledger before they begin.

Only the push in hand may be blamed for a death (I5). A process has many in hand, so the try whose
death would be the last one allowed is made alone: nothing else is prepared beside it. What dies
then died of that push.
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
    """Counts the processes that a push has killed, and refuses it in time."""

    def __init__(self, ledger: Ledger, *, max_attempts: int) -> None:
        self._ledger = ledger
        self._max_attempts = max_attempts
        self._room = _ReadWriteLock()
        self._survived: set[tuple[str, int]] = set()  # tries whose marks could not be removed

    @asynccontextmanager
    async def open_try(self, message: Message, *, suspect: bool) -> AsyncIterator[None]:
        """Prepare a push inside; `suspect` if its message was delivered before.

        Raises:
            Reject: enough processes have died of it.
            StageError: the ledger could not be read or written.
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
        """What cannot be unmarked is remembered: while this process lives, it did not die of it."""
        self._survived.add((message.id, number))
        with anyio.move_on_after(_CLEAN_UP_SECONDS, shield=True), suppress(StageError):
            await self._ledger.unmark_try(message, number)
            self._survived.discard((message.id, number))


def free_number(marked: AbstractSet[int]) -> int:
    """The least number that is not marked.

    Their count would not do: after a lost lease two processes mark tries of one message, and what
    remains may be try 1 alone. The next death would be marked as 1 again, and never be counted.
    """
    return min(set(range(len(marked) + 1)) - marked)


class _ReadWriteLock:
    """Many inside at once, or one alone. Who wants to be alone lets nobody in before it."""

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
