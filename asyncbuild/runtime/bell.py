"""A bell: wakes those who wait for the next change."""

import anyio


class Bell:
    """Rings any number of times; each ring wakes those who wait at that moment.

    Who waits looks at what it waits for first, and again after each ring: between the look and the
    wait nothing must be awaited. `anyio.Condition` does not serve here: it can only be notified by
    a task that holds its lock, and most changes are told by functions that cannot wait for one.
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
