"""The lease: visibility of all held messages of one delivery, renewed together, and its fence.

A group stays closed while its head is invisible, but the others' receipt handles lapse if only the
head is renewed; so all are renewed in one call. Whoever wants to commit something asks `guard`
first (I4).
"""

from collections.abc import Callable, Sequence

import anyio

from asyncbuild.errors import LeaseLost, StageError
from asyncbuild.logs import logger
from asyncbuild.model import Message
from asyncbuild.queue.sqs import Queue

_RENEW_AFTER = 1 / 3  # of the visibility timeout: two more tries fit before it runs out
_TRY_AGAIN_AFTER = 1 / 12
_MARGIN = 1 / 10  # what a commit may take on its way to the server
_MOST_AGE_SECONDS = 11.5 * 3_600  # SQS ends every lease 12 hours after the receive


class Lease:
    """Holds messages from their receive until they are deleted or released.

    Args:
        queue: Where they came from.
        messages: All messages of one group in one delivery.
        asked_at: The clock before the receive was sent; the earliest time it can have begun.
        visibility_seconds: The visibility timeout asked for.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        queue: Queue,
        messages: Sequence[Message],
        *,
        asked_at: float,
        visibility_seconds: int,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._queue = queue
        self._held = {message.id: message for message in messages}
        self._visibility = visibility_seconds
        self._asked_at = asked_at
        self._deadline = asked_at + visibility_seconds
        self._clock = clock
        self._lost = False
        self._scope = anyio.CancelScope()
        self._keeping = False
        self._kept = anyio.Event()

    def guard(self) -> None:
        """Return if a commit is safe now.

        Raises:
            LeaseLost: the lease is lost, or so near its end that it may be when the commit arrives.
        """
        if self._lost or self._clock() >= self._deadline - self._visibility * _MARGIN:
            raise LeaseLost("the lease on this push ran out before its work was done")

    def forget(self, message: Message) -> None:
        """Do not renew `message` any more: it is being deleted."""
        self._held.pop(message.id, None)

    def remember(self, message: Message) -> None:
        """Renew `message` again: its delete did not go through."""
        self._held[message.id] = message

    async def keep(self, *, on_lost: Callable[[], None], on_old: Callable[[], None]) -> None:
        """Renew until `stop`. Calls `on_lost` once if the lease is lost, `on_old` before 12 h."""
        self._keeping = True
        try:
            with self._scope:
                await self._keep(on_lost, on_old)
        finally:
            self._kept.set()

    async def stop(self) -> None:
        """End the renewing and wait for it, so that no late renewal undoes a release."""
        self._scope.cancel()
        if self._keeping:
            await self._kept.wait()

    async def _keep(self, on_lost: Callable[[], None], on_old: Callable[[], None]) -> None:
        # A long poll may have taken most of the timeout before the answer was here.
        pause = max(0.0, self._visibility * _RENEW_AFTER - (self._clock() - self._asked_at))
        told = False
        while True:
            await anyio.sleep(pause)
            pause = self._visibility * (_RENEW_AFTER if await self._renew() else _TRY_AGAIN_AFTER)
            if self._lost or self._clock() >= self._deadline - self._visibility * _MARGIN:
                self._lost = True
                on_lost()
                return
            if not told and self._clock() - self._asked_at > _MOST_AGE_SECONDS:
                told = True
                on_old()

    async def _renew(self) -> bool:
        held = list(self._held.values())
        if not held:
            return True
        before = self._clock()
        try:
            with anyio.fail_after(self._visibility * _RENEW_AFTER):
                lost = await self._queue.renew(held, seconds=self._visibility)
        except (StageError, TimeoutError) as error:
            logger().warning("lease.renewal-failed", messages=len(held), reason=str(error))
            return False
        # A message deleted while the call was under way is not lost.
        if lost & self._held.keys():
            self._lost = True
            return False
        self._deadline = before + self._visibility
        return True
