"""Admission to a total of bytes, in order; a forge that holds some leaves room for others.

A fetch holds its share as long as its server keeps it waiting, and an archive as long as its tree
keeps git computing. With order alone, a few of one forge would delay all others.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio


@dataclass(eq=False, slots=True)
class _Request:
    forge: str
    nbytes: int
    granted: anyio.Event = field(default_factory=anyio.Event)


class Admission:
    """Grants parts of `total_bytes`. Belongs to one event loop.

    Requests of one forge are granted in order. A forge that holds nothing gets what it asks for as
    soon as that is free. One that holds some gets more if no earlier request lacks free bytes, and
    if `kept_bytes` stay free for each of `others` other forges that hold nothing.

    So every request is granted in the end, if each grant is returned: one that is passed over
    because of its size is the first of its forge, and once that forge holds nothing, only the first
    grants of other forges go before it.

    Args:
        total_bytes: All bytes; no request may be for more.
        kept_bytes: Room that is left for one other forge.
        others: Number of other forges that get room; 0: forges do not matter.
    """

    def __init__(self, total_bytes: int, *, kept_bytes: int = 0, others: int = 0) -> None:
        self._total_bytes = total_bytes
        self._kept_bytes = kept_bytes
        self._others = others
        self._held: Counter[str] = Counter()
        self._waiting: deque[_Request] = deque()

    @property
    def free_bytes(self) -> int:
        """Number of bytes that are not granted."""
        return self._total_bytes - self._held.total()

    @asynccontextmanager
    async def open(self, forge: str, nbytes: int) -> AsyncIterator[None]:
        """Wait until `nbytes` are granted to a forge; they are returned at the end of the block."""
        request = _Request(forge, nbytes)
        self._waiting.append(request)
        self._serve()
        try:
            await request.granted.wait()
            yield
        finally:
            if request.granted.is_set():
                self._held[forge] -= nbytes
            else:
                self._waiting.remove(request)
            self._held += Counter()  # drop forges that hold nothing
            self._serve()

    def _serve(self) -> None:
        passed: set[str] = set()
        full = False  # an earlier request lacks free bytes
        for request in tuple(self._waiting):
            forge, nbytes = request.forge, request.nbytes
            if forge not in passed and self._may_have(forge, nbytes, full=full):
                self._waiting.remove(request)
                self._held[forge] += nbytes
                request.granted.set()
            else:
                passed.add(forge)
                full |= nbytes > self.free_bytes

    def _may_have(self, forge: str, nbytes: int, *, full: bool) -> bool:
        if nbytes > self.free_bytes:
            return False
        if not self._held[forge]:
            return True
        lacking = self._others - sum(1 for each in self._held if each != forge)
        return not full and self.free_bytes - nbytes >= max(0, lacking) * self._kept_bytes
