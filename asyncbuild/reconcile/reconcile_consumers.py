"""Consumers of the queue of rounds: one message after the other, with a pause between them.

They share nothing with the consumers of pushes but the process and its git processes, of which each
consumer takes one for a moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Final

import anyio

from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.reconcile_events import (
    ReconcileDeadLettered,
    ReconcileReceiveFailed,
)
from asyncbuild.domain.model import Message
from asyncbuild.domain.settling import Done, GiveUp, Hide
from asyncbuild.queue.polling import Polling, send_to_dead_letters
from asyncbuild.queue.sqs import Queue
from asyncbuild.reconcile.reconcile_worker import ReconcileWorker
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import emit

_PAUSE_SECONDS: Final = (0.02, 0.1)
_TOLD_AGAIN_AFTER: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ReconcileConsumerState:
    """State of the consumers: their number, messages in flight, and whether they are stopping."""

    consumers: int
    in_flight: int
    stopping: bool


class ReconcileConsumers:
    """Consume the queue of rounds until told to stop.

    Args:
        queue: The FIFO queue.
        worker: Carries orders out.
        settings: Settings of the service: `[reconcile]`, and the length of a long poll, and
            how long a message is hidden.
        clock: Clock.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        worker: ReconcileWorker,
        settings: Settings,
        clock: Clock = utc_now,
    ) -> None:
        self._queue = queue
        self._worker = worker
        self._wait_seconds = settings.queue.wait_seconds
        # A repository of 100,000 refs takes seconds. One that takes longer than its message is
        # hidden is looked at twice, of which one look writes, and its pushes are built once.
        self._visibility_seconds = settings.queue.visibility_timeout_seconds
        self._count = settings.reconcile.consumers
        self._clock = clock
        self._random = Random()  # noqa: S311 - jitter, not a secret
        self._told: dict[Kind, datetime] = {}
        self.polling = Polling(
            receive=self._receive, work=self._work, tell=self._tell, consumers=self._count
        )

    def statistics(self) -> ReconcileConsumerState:
        """Return the state now."""
        return ReconcileConsumerState(self._count, self.polling.in_flight, self.polling.stopping)

    async def depth(self) -> tuple[int, int, int]:
        """Return messages waiting, messages in flight, and dead letters, as SQS estimates them.

        Raises:
            StageError: SQS refused, or cannot be reached.
        """
        return await self._queue.depth()

    async def _receive(self) -> Sequence[Message]:
        return await self._queue.receive(
            most=1,
            wait_seconds=self._wait_seconds,
            visibility_seconds=self._visibility_seconds,
        )

    async def _work(self, messages: Sequence[Message]) -> bool:
        for message in messages:
            match await self._worker.settle(message):
                case Done():
                    await self._queue.delete(message)
                case Hide(seconds):
                    await self._queue.renew([message], seconds=seconds)
                case GiveUp(reason, kind):
                    await self._dead_letter(message, reason, kind)
            # The lowest priority of all that the service does: pushes go between.
            await anyio.sleep(self._random.uniform(*_PAUSE_SECONDS))
        return False

    async def _dead_letter(self, message: Message, reason: str, kind: Kind) -> None:
        await send_to_dead_letters(self._queue, message, kind=kind, reason=reason)
        await self._queue.delete(message)
        emit(ReconcileDeadLettered(message_id=message.id, kind=kind, reason=reason))

    def _tell(self, kind: Kind, reason: str, retry_in_seconds: float) -> None:
        """Tell that the queue fails, once in ten minutes for each kind of failure."""
        now, last = self._clock(), self._told.get(kind)
        if last is None or now - last >= _TOLD_AGAIN_AFTER:
            self._told[kind] = now
            emit(
                ReconcileReceiveFailed(kind=kind, reason=reason, retry_in_seconds=retry_in_seconds)
            )
