"""Consumers of the queue of results.

They share nothing with the consumer of pushes but the process: their clients, pools and failures
are their own, so no fault of theirs stops or delays a push. Each takes up to ten messages, works on
them side by side, and deletes those whose results are recorded. A failure that concerns more than
one message, such as an outage or a missing right, is told once, and work goes on with pauses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

import anyio

from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Kind, StageError
from asyncbuild.domain.events.result_events import (
    ResultDeadLettered,
    ResultDelayed,
    ResultReceiveFailed,
)
from asyncbuild.domain.model import Message
from asyncbuild.domain.settling import Done, GiveUp, Hide, hidden_seconds
from asyncbuild.queue.polling import pause_seconds, send_to_dead_letters
from asyncbuild.results.facts.result_messages import StateChange
from asyncbuild.results.result_queue import RECEIVE_MOST, ResultQueue
from asyncbuild.results.result_worker import (
    ResultFailure,
    ResultWorker,
    SettledMessage,
    sort_messages,
)
from asyncbuild.results.sweeper import Sweeper
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.tasks import for_each, open_background

VISIBILITY_SECONDS: Final = 60
_DRAIN_FAILURES_MOST: Final = 3
_DRAIN_HIDDEN_MOST: Final = 5  # others' builds may end without a pause: no poll stays empty then
# A round that fails for one build is repeated so often, and then left to the next request.
_ROUND_TRIES_MOST: Final = 5
# Pause after a receive that was not full: messages cost fewer requests together than one by one.
_GATHER_SECONDS: Final = 0.25
_TOLD_AGAIN_AFTER: Final = timedelta(minutes=10)
# Failures that the next messages would meet, too.
_COMMON: Final = frozenset({Kind.BUSY, Kind.OUTAGE, Kind.FATAL, Kind.BUG})


class Turn(Enum):
    """Amount that one receive brought, or that it failed."""

    EMPTY = auto()  # nothing came
    SOME = auto()
    FULL = auto()  # as many as one receive returns
    HIDDEN = auto()  # all that came has to wait, such as for its entry in the index
    FAILED = auto()  # and the next one would fail, too


@dataclass(frozen=True, slots=True)
class ResultConsumerState:
    """State of the consumers: messages in flight, whether a round is made, and what fails now.

    `failing` is empty if nothing does.
    """

    consumers: int
    in_flight: int
    sweeping: bool
    stopping: bool
    draining: bool
    failing: str


class ResultConsumers:
    """Consume the queue of results until told to stop.

    Args:
        queue: The queue.
        worker: Settles messages about builds.
        sweeper: Makes rounds.
        settings: Settings of the service: `[results]`, and the length of a long poll.
        clock: Clock.

    Attributes:
        visibility_seconds: How long a message is hidden while it is worked on.
    """

    def __init__(
        self,
        *,
        queue: ResultQueue,
        worker: ResultWorker,
        sweeper: Sweeper,
        settings: Settings,
        clock: Clock = utc_now,
    ) -> None:
        self.visibility_seconds = VISIBILITY_SECONDS
        self._queue = queue
        self._worker = worker
        self._sweeper = sweeper
        self._count = settings.results.consumers
        self._wait_seconds = settings.queue.wait_seconds
        self._stopping = anyio.Event()
        self._scope: anyio.CancelScope | None = None  # of `run`
        self._draining = False
        self._in_flight = 0
        self._sweeps = 0
        self._swept_at: datetime | None = None
        self._clock = clock
        self._failing = ""
        self._told: dict[tuple[Kind, str], datetime] = {}

    def statistics(self) -> ResultConsumerState:
        """Return the state now."""
        return ResultConsumerState(
            consumers=self._count,
            in_flight=self._in_flight,
            sweeping=self._sweeps > 0,
            stopping=self._stopping.is_set(),
            draining=self._draining,
            failing=self._failing,
        )

    async def depth(self) -> tuple[int, int, int]:
        """Return messages waiting, messages in flight, and dead letters, as SQS estimates them.

        Raises:
            StageError: SQS refused, or cannot be reached.
        """
        return await self._queue.depth()

    def stop(self) -> None:
        """Receive no more; what was received is settled."""
        self._stopping.set()

    def drain(self) -> None:
        """End when the queue stays empty for one long poll, or all that comes has to wait."""
        self._draining = True

    def expire(self) -> None:
        """Cancel what is in flight: it comes again when its visibility timeout is over."""
        self.stop()
        if self._scope is not None:
            self._scope.cancel()

    async def run(self) -> None:
        """Consume until `stop`, or after `drain` until nothing can be done. Raises no failure."""
        with anyio.CancelScope() as self._scope:
            async with anyio.create_task_group() as tasks:
                for _ in range(self._count):
                    tasks.start_soon(self._consume)

    async def take_turn(self, *, retry_in_seconds: float = 0) -> Turn:
        """Receive once, and settle what came; a failure is told, not raised.

        Args:
            retry_in_seconds: Pause that the caller makes after a failure, for the log.
        """
        try:
            messages = await self._queue.receive_some(
                wait_seconds=self._wait_seconds, visibility_seconds=self.visibility_seconds
            )
            return await self._work(messages) if messages else Turn.EMPTY
        except StageError as error:
            self._tell_receive_failed(error.kind, str(error), retry_in_seconds)
        except Exception as error:  # noqa: BLE001 - a bug must not end the service
            told = f"internal error: {type(error).__name__}: {error}"
            self._tell_receive_failed(Kind.BUG, told, retry_in_seconds)
        return Turn.FAILED

    async def _consume(self) -> None:
        failures = hidden = 0
        while not self._stopping.is_set():
            pause = pause_seconds(failures)
            turn = await self.take_turn(retry_in_seconds=pause)
            if turn is Turn.EMPTY and self._draining:
                return
            if turn is not Turn.FAILED:
                failures, hidden = 0, hidden + 1 if turn is Turn.HIDDEN else 0
                if self._draining and hidden == _DRAIN_HIDDEN_MOST:
                    return
                if turn in {Turn.SOME, Turn.HIDDEN}:
                    await self._or_stop(_GATHER_SECONDS)
                continue
            failures += 1
            if self._draining and failures == _DRAIN_FAILURES_MOST:
                return  # what cannot be done now waits in the queue
            await self._or_stop(pause)

    async def _work(self, messages: Sequence[Message]) -> Turn:
        """Settle the messages of one receive."""
        self._in_flight += len(messages)
        try:
            changes, sweeps, others = sort_messages(messages)
            settled = [*await for_each(self._settle, changes), *others]
            await self._put_away(settled)
            failures = [each for each in settled if each.failure is not None]
            for each in failures:
                self._tell_delayed(each)
            swept = await self._sweep(sweeps) if sweeps else True
            if swept and not failures:
                self._failing = ""
            if not swept or any(each.failure.kind in _COMMON for each in failures if each.failure):
                return Turn.FAILED
            if not sweeps and all(isinstance(each.settling, Hide) for each in settled):
                return Turn.HIDDEN
            return Turn.SOME if len(messages) < RECEIVE_MOST else Turn.FULL
        finally:
            self._in_flight -= len(messages)

    async def _settle(self, each: tuple[Message, StateChange]) -> SettledMessage:
        return await self._worker.settle(*each)

    async def _put_away(self, settled: Sequence[SettledMessage]) -> None:
        """Delete, hide or dead-letter each message; deletes first: their results are recorded."""
        done = [each.message for each in settled if isinstance(each.settling, Done)]
        await self._queue.delete_all(done)
        pairs = ((each.message, each.settling) for each in settled)
        hidden = [(message, how.seconds) for message, how in pairs if isinstance(how, Hide)]
        await self._queue.hide_all(hidden)
        for each in settled:
            if isinstance(each.settling, GiveUp):
                await self._dead_letter(each.message, each.settling.reason)

    async def _dead_letter(self, message: Message, reason: str) -> None:
        await send_to_dead_letters(self._queue, message, kind=Kind.REJECT, reason=reason)
        await self._queue.delete_all([message])
        emit(ResultDeadLettered(message_id=message.id, reason=reason))

    async def _sweep(self, requests: Sequence[Message]) -> bool:
        """Make one round for all requests; return whether it succeeded.

        A request that was sent before the last round of this process began needs no other round.
        """
        begun, last = self._clock(), self._swept_at
        due = [each for each in requests if not (last and each.sent and each.sent < last)]
        self._sweeps += 1
        try:
            if due:
                async with open_background() as tasks:
                    tasks.start_soon(self._keep, requests)
                    await self._sweeper.sweep()
                self._swept_at = begun
            await self._queue.delete_all(requests)
        except StageError as error:
            tries = max(each.receive_count for each in requests)
            given_up = error.kind is Kind.RETRY and tries >= _ROUND_TRIES_MOST
            seconds = 0 if given_up else hidden_seconds(tries)
            self._tell_receive_failed(error.kind, f"round: {error}", seconds)
            if given_up:
                await self._queue.delete_all(requests)
            else:
                await self._queue.hide_all([(each, seconds) for each in requests])
            return False
        finally:
            self._sweeps -= 1
        return True

    async def _keep(self, messages: Sequence[Message]) -> None:
        """Keep messages invisible while a round takes its time."""
        while True:
            await anyio.sleep(self.visibility_seconds / 3)
            try:
                await self._queue.hide_all([(each, self.visibility_seconds) for each in messages])
            except StageError as error:  # at worst another consumer makes a round, too
                self._tell_receive_failed(error.kind, str(error), self.visibility_seconds / 3)

    async def _or_stop(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._stopping.wait()

    def _tell_receive_failed(self, kind: Kind, reason: str, seconds: float) -> None:
        if self._is_new(ResultFailure(kind, reason, "queue")):
            emit(ResultReceiveFailed(kind=kind, reason=reason, retry_in_seconds=seconds))

    def _tell_delayed(self, settled: SettledMessage) -> None:
        failure, how = settled.failure, settled.settling
        if failure is None or not isinstance(how, Hide) or not self._is_new(failure):
            return
        delayed = ResultDelayed(
            message_id=settled.message.id,
            build_id=settled.change.of.id if settled.change else "",
            kind=failure.kind,
            reason=failure.reason,
            retry_in_seconds=how.seconds,
        )
        emit(delayed)

    def _is_new(self, failure: ResultFailure) -> bool:
        """Return whether a failure is to be told: the first of its kind and side for a while."""
        key, now = (failure.kind, failure.peer), self._clock()
        self._failing = failure.reason
        last = self._told.get(key)
        if last is not None and now - last < _TOLD_AGAIN_AFTER:
            return False
        self._told[key] = now
        return True
