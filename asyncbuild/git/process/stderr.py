"""Reader of a child's standard error that keeps its beginning and end."""

import asyncio
import os

_KEPT_BYTES = 16 * 1024
_READ_BYTES = 64 * 1024


class StderrTail:
    """Reads in a callback of the loop, as text arrives, so that no child blocks on standard error.

    Keeps the first and the last 16 KiB: git reports its error at the end, a server sometimes long
    before.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._head = bytearray()
        self._tail = bytearray()
        self._ended = False
        self.received_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self.drain)

    @property
    def text(self) -> str:
        """Beginning and end of the text."""
        return (self._head + self._tail).decode("utf-8", "replace")

    def drain(self) -> None:
        """Read what is there now."""
        while not self._ended:
            try:
                chunk = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                return
            self._note(chunk)

    def at_end(self) -> bool:
        """Return whether every process that could write here has closed its end."""
        self.drain()
        return self._ended

    def close(self) -> None:
        """Stop reading; the descriptor stays open, since the caller owns it."""
        self._loop.remove_reader(self._descriptor)

    def _note(self, chunk: bytes) -> None:
        if not chunk:
            self._ended = True
            self._loop.remove_reader(self._descriptor)
            return
        self.received_bytes += len(chunk)
        room = _KEPT_BYTES - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        del self._tail[:-_KEPT_BYTES]
