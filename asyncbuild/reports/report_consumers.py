"""Consumers of the queue of reports: ends before pending statuses, each message by itself.

They share nothing with the consumers of pushes and of results but the process, so a forge that is
away delays neither.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Kind, Reject, StageError
from asyncbuild.domain.events.report_events import ReportDeadLettered, ReportReceiveFailed
from asyncbuild.domain.model import Message
from asyncbuild.domain.reports.report import Report
from asyncbuild.domain.settling import Done, GiveUp, Hide, Settling
from asyncbuild.queue.polling import Polling, send_to_dead_letters
from asyncbuild.queue.sqs import Queue
from asyncbuild.reports.reporter import Reporter
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.tasks import for_each

# A post may take 30 s, and ten messages are worked on eight at a time.
VISIBILITY_SECONDS: Final = 120
_RENEWED_AFTER_SECONDS: Final = VISIBILITY_SECONDS / 2  # before the next post could outlast it
_RECEIVE_MOST: Final = 10
_TOLD_AGAIN_AFTER: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ReportConsumerState:
    """State of the consumers: their number, messages in flight, and whether they are ending."""

    consumers: int
    in_flight: int
    stopping: bool
    draining: bool


@dataclass(frozen=True, slots=True)
class _ReportWork:
    message: Message
    report: Report | None
    fault: str = ""


class ReportConsumers:
    """Consume the queue of reports until told to stop.

    Args:
        queue: The FIFO queue.
        reporter: Posts the reports.
        settings: Settings of the service: `[reports]`, and the length of a long poll.
        clock: Clock.
        monotonic: Clock of leases, in seconds.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        reporter: Reporter,
        settings: Settings,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._reporter = reporter
        self._wait_seconds = settings.queue.wait_seconds
        self._count = settings.reports.consumers
        self._clock = clock
        self._monotonic = monotonic
        self._told: dict[Kind, datetime] = {}
        self.polling = Polling(
            receive=self._receive, work=self._work, tell=self._tell, consumers=self._count
        )

    def statistics(self) -> ReportConsumerState:
        """Return the state now."""
        polling = self.polling
        return ReportConsumerState(
            self._count, polling.in_flight, polling.stopping, polling.draining
        )

    async def depth(self) -> tuple[int, int, int]:
        """Return messages waiting, messages in flight, and dead letters, as SQS estimates them.

        Raises:
            StageError: SQS refused, or cannot be reached.
        """
        return await self._queue.depth()

    async def _receive(self) -> Sequence[Message]:
        return await self._queue.receive(
            most=_RECEIVE_MOST,
            wait_seconds=self._wait_seconds,
            visibility_seconds=VISIBILITY_SECONDS,
        )

    async def _work(self, messages: Sequence[Message]) -> bool:
        """Settle the messages of one receive: groups side by side, each in its order."""
        received, groups = self._monotonic(), dict[str, list[_ReportWork]]()
        for message in messages:
            groups.setdefault(message.group, []).append(self._read(message))
        order = sorted(groups.values(), key=_pending_last)
        await for_each(partial(self._settle_group, received=received), order)
        return False

    def _read(self, message: Message) -> _ReportWork:
        try:
            return _ReportWork(message, self._reporter.read(message))
        except Reject as error:
            return _ReportWork(message, None, str(error))

    async def _settle_group(self, works: Sequence[_ReportWork], *, received: float) -> None:
        """Settle the reports of one context in order, up to the first that has to wait.

        The later ones stay in flight until their visibility timeout: SQS delivers nothing of a
        group while its first message is hidden.
        """
        for number, work in enumerate(works):
            try:
                now = self._monotonic()
                if now - received > _RENEWED_AFTER_SECONDS:
                    if not await self._renew(works[number:]):
                        return
                    received = now
                settling = await self._settle(work)
            except StageError as error:
                self._tell(error.kind, str(error), VISIBILITY_SECONDS)
                return
            except Exception as error:  # noqa: BLE001 - a bug is one group's failure
                told = f"internal error: {type(error).__name__}: {error}"
                self._tell(Kind.BUG, told, VISIBILITY_SECONDS)
                return
            if isinstance(settling, Hide):
                held = [each.message for each in works[number:]]
                await self._queue.renew(held, seconds=settling.seconds)
                return

    async def _renew(self, works: Sequence[_ReportWork]) -> bool:
        """Keep messages for longer; return whether all of them still belong to this task.

        Another task may post the reports of lost ones by now: a post of ours would come too late.
        """
        messages = [each.message for each in works]
        renewal = await self._queue.renew(messages, seconds=VISIBILITY_SECONDS)
        return not renewal.lost and not renewal.failed

    async def _settle(self, work: _ReportWork) -> Settling:
        settling: Settling = GiveUp(work.fault)
        if work.report is not None:
            settling = await self._reporter.settle(work.message, work.report)
        match settling:
            case Done():
                await self._queue.delete(work.message)
            case GiveUp(reason, kind):
                await self._dead_letter(work, reason, kind)
            case Hide():
                pass
        return settling

    async def _dead_letter(self, work: _ReportWork, reason: str, kind: Kind) -> None:
        message = work.message
        await send_to_dead_letters(self._queue, message, kind=kind, reason=reason)
        await self._queue.delete(message)
        repository = work.report.repository.full_name if work.report else ""
        emit(
            ReportDeadLettered(
                message_id=message.id, repository=repository, kind=kind, reason=reason
            )
        )

    def _tell(self, kind: Kind, reason: str, retry_in_seconds: float) -> None:
        """Tell that the queue fails, once in ten minutes for each kind of failure."""
        now, last = self._clock(), self._told.get(kind)
        if last is None or now - last >= _TOLD_AGAIN_AFTER:
            self._told[kind] = now
            emit(ReportReceiveFailed(kind=kind, reason=reason, retry_in_seconds=retry_in_seconds))


def _pending_last(works: Sequence[_ReportWork]) -> bool:
    return not any(each.report and each.report.status.state.is_end for each in works)
