"""Bell that wakes the tasks that wait for the next change."""

import anyio


class Bell:
    """Rings any number of times; each ring wakes the tasks that wait at that moment.

    A task checks its condition first, and again after each ring: between the check and the wait it
    must not await anything else. `anyio.Condition` does not serve here: only a task that holds its
    lock can notify it, and most changes come from functions that cannot wait for a lock.
    """

    def __init__(self) -> None:
        self._next: anyio.Event | None = None

    def ring(self) -> None:
        """Wake those who wait."""
        if self._next is not None:
            self._next.set()
            self._next = None

    async def wait(self) -> None:
        """Wait for the next ring."""
        if self._next is None:
            self._next = anyio.Event()
        await self._next.wait()
