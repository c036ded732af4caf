"""Consumer of the queue: polls, opens a lane for each group, and stops in order."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import anyio
from anyio.abc import TaskGroup

from asyncbuild.config.sections import LaneSettings, QueueSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Busy, Retry, StageError
from asyncbuild.domain.events.queue_events import (
    ConsumerStoppedReceiving,
    LeaseLostToAnother,
    QueueGrouping,
    QueueOneMessagePerReceive,
    QueuePolled,
    QueueReceiveFailed,
)
from asyncbuild.domain.model import Message
from asyncbuild.queue.counters import ConsumerState
from asyncbuild.queue.lane.capacity import find_room
from asyncbuild.queue.lane.message_groups import REMEDY, Grouping
from asyncbuild.queue.lane.protocol import Policy
from asyncbuild.queue.lane.queue_facts import QueueFacts
from asyncbuild.queue.lane_runner import LaneRunner
from asyncbuild.queue.lane_steps import LaneServices
from asyncbuild.queue.lease import Lease
from asyncbuild.queue.sqs import Queue
from asyncbuild.queue.stages import Stages
from asyncbuild.queue.worker_pool import WorkerPool, open_consumers
from asyncbuild.runtime.bell import Bell
from asyncbuild.runtime.emit import emit

_LONGEST_PAUSE_SECONDS = 30.0


class Consumer:
    """Consumes one queue until told to stop.

    Args:
        queue: Queue that messages come from.
        pipeline: Stages of each message.
        settings: Settings of the service: `[queue]`, `[lanes]`, and those of the consumers.
        hold: Entered while a lane is in flight.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        pipeline: Stages,
        settings: Settings,
        hold: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._queue = queue
        self._pipeline = pipeline
        self._settings = settings.queue
        self._lane_settings = settings.lanes
        self._count = settings.consumers
        self._shares = {"forges": settings.forges, "reserve": settings.reserved_consumers}
        self._hold = hold
        self._batch = settings.queue.batch
        self._consumers: WorkerPool | None = None
        self._lanes: dict[str, LaneRunner] = {}
        self._grouping = Grouping()
        self._room = Bell()
        self._stopping = anyio.Event()
        self._fatal: StageError | None = None

    def statistics(self) -> ConsumerState:
        """Return what is in flight now."""
        workers = self._consumers.statistics() if self._consumers else None
        return ConsumerState(
            lanes={group: lane.statistics() for group, lane in self._lanes.items()},
            consumers=self._count,
            consumers_free=workers.free if workers else 0,
            jobs_waiting=workers.waiting if workers else 0,
            stopping=self._stopping.is_set(),
            pipeline=self._pipeline.statistics(),
        )

    async def depth(self) -> tuple[int, int, int]:
        """Return messages waiting, messages in flight, and dead letters, as SQS estimates them.

        Raises:
            StageError: SQS refused, or cannot be reached.
        """
        return await self._queue.depth()

    def stop(self) -> None:
        """Receive no more; lanes settle what they can in order and release the rest."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        for lane in self._lanes.values():
            lane.stop()

    def expire(self) -> None:
        """Release everything that is not on its last step."""
        self.stop()
        for lane in self._lanes.values():
            lane.expire()

    async def run(self, *, drain: bool = False) -> None:
        """Consume until `stop`, or until the queue stays empty for one long poll if `drain`.

        Raises:
            Fatal: A stage cannot work at all; everything in flight was released before.
        """
        facts = await self._queue.facts()
        self._batch = messages_per_receive(self._settings, self._lane_settings, facts)
        async with (
            open_consumers(self._count, **self._shares) as consumers,
            anyio.create_task_group() as lanes,
        ):
            self._consumers = consumers
            services = LaneServices(
                self._queue, consumers, self._pipeline, _policy(self._lane_settings), facts
            )
            async with anyio.create_task_group() as polls:
                for _ in range(1 if drain else self._settings.polls):
                    polls.start_soon(self._poll, services, lanes, drain)
            emit(ConsumerStoppedReceiving(lanes=len(self._lanes)))
        if self._fatal is not None:
            raise self._fatal

    async def _poll(
        self,
        services: LaneServices,
        lanes: TaskGroup,
        drain: bool,  # noqa: FBT001 - start_soon takes no keywords
    ) -> None:
        failures = 0
        while not self._stopping.is_set():
            await self._or_stop(self._wait_room, services.consumers)
            if self._stopping.is_set():
                return
            asked_at = anyio.current_time()
            idle = not self._lanes  # else an empty answer may only mean that our groups are locked
            try:
                messages = await self._receive()
            except (Retry, Busy) as error:
                failures += 1
                await self._pause(failures, error)
                continue
            except StageError as error:
                self._fatal = error
                self.stop()
                return
            failures = 0
            groups = len({message.group for message in messages})
            emit(QueuePolled(messages=len(messages), groups=groups))
            if messages:
                self._open_lanes(messages, services, lanes, asked_at)
            elif drain and idle:
                self.stop()

    async def _receive(self) -> list[Message]:
        return await self._queue.receive(
            most=self._batch,
            wait_seconds=self._settings.wait_seconds,
            visibility_seconds=self._settings.visibility_timeout_seconds,
        )

    async def _wait_room(self, consumers: WorkerPool) -> None:
        """Wait until a lane may be opened; until then other tasks may receive the messages."""
        await consumers.wait_free()
        while not self._make_room():
            # Look again after a time: nothing rings when a lane has waited so long for its forge's
            # share that it may give way.
            with anyio.move_on_after(self._lane_settings.busy_most_seconds):
                await self._room.wait()
            await consumers.wait_free()

    def _make_room(self) -> bool:
        """Return whether another lane may be opened; make a waiting lane give way if needed."""
        lanes = list(self._lanes.values())
        room = find_room([lane.standing() for lane in lanes], most=self._lane_settings.most)
        if room.gives_way is not None:
            lanes[room.gives_way].give_way()
        return room.free

    async def _or_stop(self, wait: object, *arguments: object) -> None:
        async with anyio.create_task_group() as tasks:

            async def until_stop() -> None:
                await self._stopping.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_stop)
            await wait(*arguments)  # type: ignore[operator] # any async callable
            tasks.cancel_scope.cancel()

    async def _pause(self, failures: int, error: StageError) -> None:
        seconds = min(_LONGEST_PAUSE_SECONDS, 0.25 * 2.0 ** min(failures, 10))
        emit(QueueReceiveFailed(kind=error.kind, reason=str(error), pause_seconds=seconds))
        await self._or_stop(anyio.sleep, seconds)

    def _open_lanes(
        self,
        messages: Sequence[Message],
        services: LaneServices,
        lanes: TaskGroup,
        asked_at: float,
    ) -> None:
        """Open a lane for every group of a delivery. Nothing is awaited, so none can be forgotten.

        Args:
            messages: The delivery.
            services: Services of the lanes.
            lanes: Task group that owns the lanes.
            asked_at: Time before the receive was sent.
        """
        groups: dict[str, list[Message]] = defaultdict(list)
        for message in sorted(messages, key=lambda each: each.sequence):
            groups[message.group].append(message)
        for held in groups.values():
            lease = Lease(
                self._queue,
                held,
                asked_at=asked_at,
                visibility_seconds=self._settings.visibility_timeout_seconds,
            )
            lane = LaneRunner(held, lease=lease, services=services, on_change=self._room.ring)
            fault = self._grouping.find_fault(lane.group, lane.repositories)
            if fault:
                emit(QueueGrouping(reason=fault, remedy=REMEDY))
            if self._stopping.is_set():
                lane.stop()
            older = self._end_older_lane(lane.group, held)
            self._lanes[lane.group] = lane
            lanes.start_soon(self._run_lane, lane, older)

    def _end_older_lane(self, group: str, messages: Sequence[Message]) -> anyio.Event | None:
        """End the group's older lane; return the event of its end, or None without an older lane.

        A message that is delivered while we hold it shows that its lease was lost (I4). Otherwise
        the older lane has nothing left: its last delete was just answered.
        """
        older = self._lanes.get(group)
        if older is None:
            return None
        if older.holds_any(messages):
            emit(LeaseLostToAnother(reason="delivered again", group=group))
        older.lose()
        return older.closed

    async def _run_lane(self, lane: LaneRunner, older: anyio.Event | None) -> None:
        try:
            with self._hold():
                await lane.run(after=older)
        finally:
            if self._lanes.get(lane.group) is lane:
                del self._lanes[lane.group]
            self._room.ring()
        if lane.fatal is not None:
            self._fatal = lane.fatal
            self.stop()


def messages_per_receive(queue: QueueSettings, lanes: LaneSettings, facts: QueueFacts) -> int:
    """Return how many messages to take in one receive: whole rounds of the lookahead, or one.

    SQS delivers nothing more of a group until all of a delivery is settled, so a last round that is
    not full leaves consumers without work. And every message spends a receive, tried or not: if the
    queue's redrive policy allows too few, failures of one message would dead-letter others that
    were never tried.

    Args:
        queue: Settings `[queue]`.
        lanes: Settings `[lanes]`.
        facts: Attributes of the queue.
    """
    batch = lanes.lookahead * (queue.batch // lanes.lookahead) or queue.batch
    limit = facts.max_receive_count
    enough = lanes.max_attempts + batch
    if limit is None or limit >= enough or batch == 1:
        return batch
    remedy = (
        f"raise maxReceiveCount of the queue's RedrivePolicy to {enough} or more, "
        "so that a repository's pushes can be prepared in parallel"
    )
    emit(QueueOneMessagePerReceive(max_receive_count=limit, remedy=remedy))
    return 1


def _policy(settings: LaneSettings) -> Policy:
    return Policy(
        lookahead=settings.lookahead,
        max_attempts=settings.max_attempts,
        retry_first_seconds=settings.retry_first_seconds,
        retry_most_seconds=settings.retry_most_seconds,
        busy_most_seconds=settings.busy_most_seconds,
        retry_after_most_seconds=settings.retry_after_most_seconds,
        longest_wait_seconds=settings.longest_wait_seconds,
        skip_superseded=settings.superseded == "skip",
    )
