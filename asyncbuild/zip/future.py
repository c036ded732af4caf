"""A piece of work that a worker has, and its result."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

from asyncbuild.domain.errors import Reject
from asyncbuild.zip.format.tar_headers import BrokenTar
from asyncbuild.zip.shared_memory import SlotMessage, SlotMessageKind, Slots

_Packed = TypeVar("_Packed")


@dataclass(eq=False, slots=True)
class PendingPiece(Generic[_Packed]):
    """A piece of work in a slot; its result is waited for once, or not at all."""

    _unpack: Callable[[SlotMessage, bytes, bytes], _Packed]
    _done: anyio.Event = field(default_factory=anyio.Event)
    _abandoned: bool = False
    _result: _Packed | Exception | None = None
    losses: int = 0  # number of workers that died while they had it

    async def wait(self) -> _Packed:
        """Wait for the result and return it.

        Raises:
            BrokenTar, Reject: As `pack_run`.
            Retry: The process is gone.
        """
        await self._done.wait()
        result, self._result = self._result, None
        if isinstance(result, Exception):
            raise result
        if result is None:
            raise AssertionError("a result that was taken before")
        return result

    def abandon(self) -> None:
        """Discard the result, which is not needed any more."""
        self._abandoned = True
        self._result = None

    def finish(self, message: SlotMessage, slots: Slots) -> None:
        """Take the result out of its slot; the slot is free after this."""
        if not self._abandoned:
            try:
                contents, more = slots.contents(message), slots.more(message)
                failure = _failure(message, more)
                self._result = failure or self._unpack(message, contents, more)
            except Exception as error:  # noqa: BLE001 - of this piece alone: its waiter raises it
                self._result = error
        self._done.set()

    def fail(self, error: Exception) -> None:
        """Record that the work will not be done, because of `error`."""
        if not self._abandoned:
            self._result = error
        self._done.set()


def _failure(message: SlotMessage, more: bytes) -> Exception | None:
    if message.kind is SlotMessageKind.DONE:
        return None
    reason = more.decode(errors="replace")
    if message.kind is SlotMessageKind.BROKEN_TAR:
        return BrokenTar(reason, message.number)
    if message.kind is SlotMessageKind.REJECTED:
        return Reject(reason)
    return RuntimeError(f"in a process that compresses: {reason}")
