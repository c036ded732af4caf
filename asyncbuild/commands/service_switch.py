"""Switch that stops the service, and the signals that turn it.

Stopping is not cancelling. The first signal stops the receiving; messages in flight are settled in
order or released. Shortly before the grace ends, those that are not on their last step are
released; a second signal, or the end of the grace, cancels.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, Protocol

import anyio
from anyio.abc import TaskStatus

from asyncbuild.config.settings import Settings
from asyncbuild.domain.events.service_events import ServiceGraceEnds, ServiceStopping
from asyncbuild.runtime.emit import emit

# Parts of the grace that releasing, and then cancelling, may take before the process is killed.
_EXPIRE_BEFORE_END: Final = 1 / 4
_EXPIRE_AT_MOST_SECONDS: Final = 20.0
_SIGNALS_MOST: Final = 10


class Stoppable(Protocol):
    """A consumer of a queue, as the switch sees it."""

    def stop(self) -> None:
        """Receive no more, and settle what is in flight."""

    def expire(self) -> None:
        """Release what is in flight and not on its last step."""


class ServiceSwitch:
    """Switch that stops the service: in order; at once before it runs, or on a second signal.

    `consumers` are what it stops; none while nothing was received yet.
    """

    def __init__(self, settings: Settings, scope: anyio.CancelScope) -> None:
        self._grace = settings.shutdown_grace_seconds
        self._scope = scope
        self.consumers: Sequence[Stoppable] = ()

    def cut(self) -> None:
        """Cancel everything; what is in flight is released."""
        self._scope.cancel()

    async def turn_off(self) -> None:
        """Stop, expire, cancel: each after the time of the one before."""
        if not self.consumers:  # nothing was received yet
            self.cut()
            return
        reserve = min(_EXPIRE_AT_MOST_SECONDS, self._grace * _EXPIRE_BEFORE_END)
        for each in self.consumers:
            each.stop()
        await anyio.sleep(self._grace - reserve)
        emit(ServiceGraceEnds(remaining_seconds=reserve))
        for each in self.consumers:
            each.expire()
        await anyio.sleep(reserve / 2)
        self.cut()


async def listen(
    signals: Sequence[signal.Signals], switch: ServiceSwitch, *, task_status: TaskStatus[None]
) -> None:
    """Turn the switch at the first of these signals, and cut at the next.

    Args:
        signals: Signals to listen to.
        switch: The switch.
        task_status: Told when signals are heard.
    """
    with _receiving(signals) as received:
        task_status.started()
        async with anyio.create_task_group() as tasks:
            first = True
            async for number in received:
                if not first and number == signal.SIGHUP:
                    continue  # when a terminal closes, shell and kernel send one each
                emit(ServiceStopping(signal=number.name, second=not first))
                if not first:
                    switch.cut()
                    return
                first = False
                tasks.start_soon(switch.turn_off)


@contextmanager
def _receiving(signals: Sequence[signal.Signals]) -> Iterator[AsyncIterator[signal.Signals]]:
    """Yield the signals that arrive in the block; ignore them afterwards, when the process ends.

    `anyio.open_signal_receiver` and asyncio restore the default action of signals when they close,
    even if only for a moment: a signal at that moment would kill the clean-up.
    """
    loop = asyncio.get_running_loop()
    sender, receiver = anyio.create_memory_object_stream[signal.Signals](_SIGNALS_MOST)

    def hear(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(put, signal.Signals(number))

    def put(number: signal.Signals) -> None:
        with suppress(anyio.WouldBlock, anyio.ClosedResourceError):  # further ones change nothing
            sender.send_nowait(number)

    with sender, receiver:
        for number in signals:
            signal.signal(number, hear)
        try:
            yield receiver
        finally:
            for number in signals:
                signal.signal(number, signal.SIG_IGN)


async def stop_when(stop: anyio.Event, switch: ServiceSwitch) -> None:
    """Turn the switch when the event is set."""
    await stop.wait()
    await switch.turn_off()
