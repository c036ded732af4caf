"""Delivery of events to an SQS queue as bad as EventBridge's: late, twice, disordered, or never.

CodeBuild's events are "best effort" (EventBridge events reference), and EventBridge delivers at
least once and in no order. What becomes of an event follows from the seed and the event's key.
"""

import heapq
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from random import Random
from typing import TYPE_CHECKING

import anyio
import orjson

from asyncbuild.local.servers.aws_json import Document
from asyncbuild.local.servers.build_events import build_event
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin
from asyncbuild.local.servers.stored_build import StoredBuild
from asyncbuild.runtime.bell import Bell

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

Make = Callable[[], Document | None]
DOCUMENTED = frozenset({"IN_PROGRESS", "SUCCEEDED", "FAILED", "STOPPED"})
"""States of which events are documented; whether FAULT and TIMED_OUT have any is not said."""


class EventFate(StrEnum):
    """Fate of an event."""

    USUAL = "usual"
    LOST = "lost"
    DOUBLED = "doubled"  # sent at once, and again later
    DISORDERED = "disordered"  # sent after the next event
    LATE = "late"


@dataclass(frozen=True, slots=True)
class EventFaults:
    """Shares of events that are not sent once and at once; `late_seconds` is the longest delay."""

    seed: int = 1
    lost: float = 0.0
    doubled: float = 0.0
    disordered: float = 0.0
    late: float = 0.0
    late_seconds: float = 2.0

    def draw(self, key: str) -> tuple[EventFate, float]:
        """Return what becomes of the event that `key` names, and a delay in seconds."""
        random = Random(f"{self.seed}/{key}")  # noqa: S311 - repeatable, not secret
        left, delay = random.random(), random.uniform(0, self.late_seconds)
        shares = {
            EventFate.LOST: self.lost,
            EventFate.DOUBLED: self.doubled,
            EventFate.DISORDERED: self.disordered,
            EventFate.LATE: self.late,
        }
        for delivery, share in shares.items():
            left -= share
            if left < 0:
                return delivery, delay
        return EventFate.USUAL, 0.0


@dataclass(slots=True)
class _ScheduledEvent:
    key: str
    make: Make
    delivery: EventFate | None = None  # None until its time has come
    delay: float = 0.0
    sent: bool = False


@dataclass(slots=True)
class EventSender:
    """Sends events when their time has come, each with its fault.

    Attributes:
        sent_at: When each event was sent first, in epoch seconds, by its key.
        deliveries: Number of events by what became of them.
    """

    client: "SQSClient"
    queue_url: str
    clock: Callable[[], float]
    faults: EventFaults = field(default_factory=EventFaults)
    sent_at: dict[str, float] = field(default_factory=dict)
    deliveries: Counter[EventFate] = field(default_factory=Counter)
    _waiting: list[tuple[float, int, _ScheduledEvent]] = field(default_factory=list)
    _held: list[_ScheduledEvent] = field(default_factory=list)
    _delivering: bool = False
    _numbers: "count[int]" = field(default_factory=count)
    _news: Bell = field(default_factory=Bell)

    @property
    def is_idle(self) -> bool:
        """Return whether every event that was scheduled is sent, or lost."""
        return not self._waiting and not self._delivering

    def schedule(self, at: float, key: str, make: Make) -> None:
        """Send an event once `at` has come.

        Args:
            at: Epoch seconds.
            key: Name of the event, on which its fault depends.
            make: Function that returns the event then; None if there is nothing to tell.
        """
        self._push(at, _ScheduledEvent(key, make))

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send while inside."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._run)
            yield
            tasks.cancel_scope.cancel()

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                await self._news.wait()
                continue
            at, _, letter = self._waiting[0]
            if (left := at - self.clock()) > 0:
                with anyio.move_on_after(left):
                    await self._news.wait()
                continue
            heapq.heappop(self._waiting)
            self._delivering = True
            await self._deliver(letter)
            self._delivering = False

    async def _deliver(self, letter: _ScheduledEvent) -> None:
        if letter.delivery is None:
            letter.delivery, letter.delay = self.faults.draw(letter.key)
            self.deliveries[letter.delivery] += 1
            match letter.delivery:
                case EventFate.LOST:
                    return
                case EventFate.DISORDERED:
                    self._held.append(letter)
                    self._push(self.clock() + letter.delay, letter)  # if no other event comes
                    return
                case EventFate.LATE:
                    self._push(self.clock() + letter.delay, letter)
                    return
                case EventFate.DOUBLED:
                    again = _ScheduledEvent(letter.key, letter.make, EventFate.USUAL)
                    self._push(self.clock() + letter.delay, again)
                case _:
                    pass
        held, self._held = self._held, []
        await self._send(letter)
        for each in held:
            await self._send(each)

    async def _send(self, letter: _ScheduledEvent) -> None:
        event = None if letter.sent else letter.make()
        letter.sent = True
        if event is not None:
            body = orjson.dumps(event).decode()
            self.sent_at.setdefault(letter.key, self.clock())
            await self.client.send_message(QueueUrl=self.queue_url, MessageBody=body)

    def _push(self, at: float, letter: _ScheduledEvent) -> None:
        heapq.heappush(self._waiting, (at, next(self._numbers), letter))
        self._news.ring()


@asynccontextmanager
async def open_event_sender(
    standin: CodeBuildStandin,
    client: "SQSClient",
    queue_url: str,
    *,
    faults: EventFaults | None = None,
    begins: bool = False,
    only_documented: bool = False,
) -> AsyncIterator[EventSender]:
    """Send the events of all builds of a stand-in while inside; keys are the builds' ids.

    Args:
        standin: The stand-in.
        client: Client of the queue's service.
        queue_url: The queue that a rule of EventBridge would send to.
        faults: Faults of the delivery; none by default.
        begins: Send the beginnings, too (`IN_PROGRESS`), with keys that begin with `+`.
        only_documented: Send nothing for builds that end as FAULT or TIMED_OUT.
    """
    sender = EventSender(client, queue_url, standin.clock, faults or EventFaults())

    def schedule(build: StoredBuild) -> None:
        def end() -> Document | None:
            standin.settle()  # a retry is there when its failure is told
            document = build.seen_at(standin.clock())
            untold = only_documented and document["buildStatus"] not in DOCUMENTED
            return build_event(document) if document["buildComplete"] and not untold else None

        if begins and build.stopped_at is None:
            begin = build_event(build.seen_at(build.started.time))
            sender.schedule(build.started.time, f"+{build.id}", lambda: begin)
        sender.schedule(build.ends_at, build.id, end)

    standin.watchers.append(schedule)
    try:
        async with sender.sending():
            yield sender
    finally:
        standin.watchers.remove(schedule)
