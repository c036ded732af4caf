"""Steps of a lane's messages, from the preparation to the last delete or release.

The lane decides when each step is made; its runner makes them and reports the results.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import anyio

from asyncbuild.domain.errors import Reject, StageError, after_waiting
from asyncbuild.domain.events.queue_events import LaneReleased, LaneReleaseFailed
from asyncbuild.domain.model import Message, Nothing, Push
from asyncbuild.domain.tally import Incomplete, PendingTries, Tally
from asyncbuild.pushes.work import Dispatch, PreparedMessage, Work
from asyncbuild.queue.lane.capacity import held
from asyncbuild.queue.lane.protocol import LaneMessage, Policy
from asyncbuild.queue.lane.queue_facts import QueueFacts
from asyncbuild.queue.lease import Lease
from asyncbuild.queue.sqs import Queue
from asyncbuild.queue.stages import Stages
from asyncbuild.queue.worker_pool import WorkerPool
from asyncbuild.runtime.emit import emit

_RELEASE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class LaneServices:
    """Services that all lanes of a consumer share.

    Attributes:
        queue: Queue that the messages came from.
        consumers: Workers that prepare them.
        pipeline: Stages of each message.
        policy: Settings of `[lanes]`.
        facts: Attributes of the queue.
    """

    queue: Queue
    consumers: WorkerPool
    pipeline: Stages
    policy: Policy
    facts: QueueFacts


class LaneSteps:
    """Steps of the messages of one lane, by their sequence numbers, and the facts about each.

    Args:
        messages: The messages that were delivered, oldest first.
        lease: Lease that holds them.
        services: Services of the consumer.
    """

    def __init__(
        self, messages: Sequence[Message], *, lease: Lease, services: LaneServices
    ) -> None:
        self.works = _works_of(messages, services.pipeline)
        self._messages = {message.sequence: message for message in messages}
        self._lease = lease
        self._queue = services.queue
        self._pipeline = services.pipeline
        self._facts = services.facts
        self._prepared: dict[int, PreparedMessage] = {}
        self._failures: dict[int, StageError] = {}
        self._dead_lettered: set[int] = set()
        policy = services.policy
        self._tallies = {
            sequence: Tally(
                max_attempts=policy.max_attempts,
                pause_seconds=policy.retry_most_seconds,
                longest_pause_seconds=policy.retry_after_most_seconds,
            )
            for sequence in self.works
        }
        self._failing_since: dict[int, float] = {}  # with errors that count no attempt
        self._first_starts: dict[int, float] = {}

    @property
    def group(self) -> str:
        """Message group of the lane."""
        return next(iter(self._messages.values())).group

    @property
    def repositories(self) -> Iterator[str]:
        """Paths of the repositories that were pushed to, in order."""
        return (push.repository.path for work in self.works.values() for push in work.pushes)

    def lane_messages(self) -> list[LaneMessage]:
        """Return the messages as the state machine sees them."""
        return [_held(work, self._facts) for work in self.works.values()]

    def holds_any(self, messages: Iterable[Message]) -> bool:
        """Return whether one of `messages` is held here."""
        held_ids = {message.id for message in self._messages.values()}
        return any(message.id in held_ids for message in messages)

    def id_of(self, sequence: int) -> str:
        """Return the id of a message."""
        return self._messages[sequence].id

    def failure_of(self, sequence: int) -> str:
        """Return why a message failed last; empty if it did not."""
        return str(self._failures.get(sequence, ""))

    def keep_failure(self, sequence: int, error: StageError) -> None:
        """Record why a message failed, for its dead letter."""
        self._failures[sequence] = error

    def waited_seconds(self, sequence: int, error: StageError) -> float:
        """Return the seconds that a message has been failing with errors that count no attempt."""
        if not error.kind.is_waited_out or isinstance(error, PendingTries):
            return 0.0
        now = anyio.current_time()
        return now - self._failing_since.setdefault(sequence, now)

    def succeed(self, sequence: int) -> None:
        """Forget since when a message has been failing."""
        self._failing_since.pop(sequence, None)

    async def prepare(self, sequence: int, *, suspect: bool) -> None:
        """Prepare a message. Raises StageError."""
        self._prepared[sequence] = await self._pipeline.prepare(
            self.works[sequence], guard=self._lease.guard, suspect=suspect
        )

    async def start(self, sequence: int, covers: Sequence[int]) -> None:
        """Start the builds of a prepared message; see `Stages.dispatch`. Raises StageError."""
        now = anyio.current_time()
        first = self._first_starts.get(sequence)
        self._first_starts.setdefault(sequence, now)
        order = Dispatch(
            self._prepared[sequence],
            covers=[self.works[each] for each in covers],
            tried_seconds_ago=None if first is None else now - first,
            is_duplicate=self._is_duplicate(sequence),
        )
        await self._pipeline.dispatch(order, guard=self._lease.guard, tally=self._tallies[sequence])

    def _is_duplicate(self, sequence: int) -> bool:
        """Return whether an older message of this lane is about the same event, sent twice."""
        push = self.works[sequence].push
        others = (work.push for n, work in self.works.items() if n < sequence)
        return push is not None and any(
            other and (other.id, other.repository) == (push.id, push.repository) for other in others
        )

    async def supersede(self, sequence: int, by: int) -> None:
        """Record that the newer message `by` covers a message. Raises StageError."""
        await self._pipeline.supersede(
            self.works[sequence], by=self.works[by], guard=self._lease.guard
        )

    async def delete(self, sequence: int) -> None:
        """Delete a message whose outcome is recorded. Raises LeaseLost, StageError."""
        message = self._messages[sequence]
        self._lease.guard()
        self._lease.forget(message)
        try:
            await self._queue.delete(message)
        except BaseException:
            self._lease.remember(message)
            raise

    async def dead_letter(self, sequence: int, attempts: int) -> None:
        """Move a message to the dead-letter queue with its failure. Raises StageError."""
        message, failure = self._messages[sequence], self._failures[sequence]
        if failure.kind.is_waited_out:
            failure = self._failures[sequence] = self._after_waiting(sequence, failure)
        if isinstance(failure, Incomplete):
            attempts = failure.attempts
        if sequence not in self._dead_lettered:  # SQS recognises a repetition for five minutes only
            self._lease.guard()
            if not await self._pipeline.keeps(self.works[sequence], failure):
                await self.delete(sequence)
                return
            self._lease.guard()
            await self._queue.dead_letter(
                message, kind=failure.kind, reason=str(failure), attempts=attempts
            )
            self._dead_lettered.add(sequence)
        await self._pipeline.dead_letter(self.works[sequence], failure, attempts=attempts)
        await self.delete(sequence)

    def _after_waiting(self, sequence: int, failure: StageError) -> StageError:
        """Return the failure, with the time waited in its reason; parts already done stay done."""
        since = self._failing_since.get(sequence, anyio.current_time())
        waited = f"waited for {anyio.current_time() - since:.0f} s"
        return self._tallies[sequence].abandon(waited) or after_waiting(failure, waited)

    async def release(self, sequences: Sequence[int], hidden_seconds: float = 0.0) -> None:
        """Release messages, tail first; one whose release fails becomes visible later by itself."""
        messages = [self._messages[sequence] for sequence in sequences]
        hidden = self._lease.limit_hidden(hidden_seconds) if hidden_seconds else 0
        try:
            with anyio.fail_after(_RELEASE_SECONDS, shield=True):
                await self._queue.release(messages, hidden_seconds=hidden)
        except (StageError, TimeoutError) as error:
            emit(LaneReleaseFailed(messages=len(messages), reason=str(error)))
        else:
            emit(
                LaneReleased(
                    messages=len(messages),
                    hidden_seconds=hidden or None,
                    group=self.group if hidden else None,
                    reason=self.failure_of(sequences[-1]) if hidden else None,
                )
            )


def _works_of(messages: Sequence[Message], pipeline: Stages) -> dict[int, Work]:
    """Return the work of each message, with the events that came after it."""
    works: dict[int, Work] = {}
    later: tuple[Push | Nothing, ...] = ()
    for message in reversed(messages):
        work = pipeline.read(message)
        works[message.sequence] = replace(work, later=later)
        own = () if isinstance(work.event, Reject) else (work.event, *work.more)
        later = (*own, *later)
    return dict(reversed(works.items()))


def _held(work: Work, facts: QueueFacts) -> LaneMessage:
    message = work.message
    age = datetime.now(UTC) - message.sent if message.sent else timedelta()
    return held(
        message.sequence,
        receive_count=message.receive_count,
        ref=work.supersedable_ref,
        age_seconds=age.total_seconds(),
        facts=facts,
    )
