"""Runs one lane: carries out the machine's commands and tells it how they went.

Everything a lane does happens inside `run`: when that returns, nothing of the lane is under way, no
message of it is held, and the renewer has ended. Preparations run on the consumers; all else runs
in the lane's own task group.
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
from anyio.abc import TaskGroup

from asyncbuild.domain.errors import (
    Kind,
    LeaseLost,
    Reject,
    Retry,
    Scope,
    StageError,
    after_waiting,
)
from asyncbuild.domain.events.push_events import PushBug, PushNotSettled
from asyncbuild.domain.events.queue_events import (
    LaneReleased,
    LaneReleaseFailed,
    LeaseLostToAnother,
)
from asyncbuild.domain.model import Message, Nothing, Push
from asyncbuild.domain.tally import Incomplete, PendingTries, Tally
from asyncbuild.pushes.work import Dispatch, PreparedMessage, Work
from asyncbuild.queue.counters import InFlight
from asyncbuild.queue.lane import protocol as p
from asyncbuild.queue.lane.capacity import Standing, find_standing, held
from asyncbuild.queue.lane.queue_facts import QueueFacts
from asyncbuild.queue.lane.state_machine import Lane
from asyncbuild.queue.lease import Lease
from asyncbuild.queue.sqs import Queue
from asyncbuild.queue.stages import Stages
from asyncbuild.queue.worker_pool import Job, WorkerPool
from asyncbuild.runtime.emit import emit

_RELEASE_SECONDS = 10
_WITH_REASON = frozenset({p.State.PAUSED, p.State.FAILED, p.State.BURYING, p.State.DROPPED})
_LAST_STEPS = {p.State.SETTLING: "delete", p.State.BURYING: "dead-letter"}


class LaneRunner:
    """One delivery of one group, from receive to the last delete or release.

    Args:
        messages: What was delivered, oldest first.
        lease: Holds them.
        queue: Where they came from.
        consumers: Who prepares them.
        pipeline: What is done for each.
        policy: The settings of `[lanes]`.
        facts: What the queue says of itself.
        on_change: Called when something has changed in the lane.
    """

    def __init__(  # noqa: PLR0913 - its surroundings, by name
        self,
        messages: Sequence[Message],
        *,
        lease: Lease,
        queue: Queue,
        consumers: WorkerPool,
        pipeline: Stages,
        policy: p.Policy,
        facts: QueueFacts,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.group = messages[0].group
        self.closed = anyio.Event()
        self._messages = {message.sequence: message for message in messages}
        self._works = _works_of(messages, pipeline)
        self._lease = lease
        self._queue = queue
        self._consumers = consumers
        self._pipeline = pipeline
        self._policy = policy
        self._on_change = on_change
        self._lane = Lane([_held(work, facts) for work in self._works.values()], policy)
        self._prepared: dict[int, PreparedMessage] = {}
        self._failures: dict[int, StageError] = {}
        self._buried: set[int] = set()
        self._tallies = {
            sequence: Tally(
                max_attempts=policy.max_attempts,
                pause_seconds=policy.retry_most_seconds,
                longest_pause_seconds=policy.retry_after_most_seconds,
            )
            for sequence in self._works
        }
        self._failing_since: dict[int, float] = {}  # with what counts no attempt
        self._submitted: dict[int, float] = {}
        self._first_starts: dict[int, float] = {}
        self._jobs: dict[int, Job] = {}
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._events_in, self._events = anyio.create_memory_object_stream[p.Event](1_000)
        self._stop_first = False
        self._running = False
        self.fatal: StageError | None = None

    @property
    def repositories(self) -> Iterator[str]:
        """Whose pushes they are, in order."""
        return (push.repository.path for work in self._works.values() for push in work.pushes)

    def holds_any(self, messages: Iterable[Message]) -> bool:
        """Return whether one of `messages` is held here."""
        held = {message.id for message in self._messages.values()}
        return any(message.id in held for message in messages)

    def statistics(self) -> tuple[InFlight, ...]:
        """Each message with its state, in the queue's order."""
        return tuple(
            InFlight(self._works[sequence], state.value, self._reason(sequence, state))
            for sequence, state in sorted(self._lane.states().items())
        )

    def standing(self) -> Standing:
        """Tell whether the lane waits for others, and whether it may be given back for them."""
        if not self._running or self._lane.ending or self._lane.closed:
            return Standing()
        states, now = self._lane.states(), anyio.current_time()
        preparing = [n for n, state in states.items() if state is p.State.PREPARING]
        asked_at = self._submitted.get(self._lane.head, now)
        return find_standing(
            states,
            held_back=[n for n in preparing if self._consumers.is_held_back(self._jobs[n])],
            blocked_seconds=now - asked_at,
            may_give_way=self._lane.may_give_way,
            policy=self._policy,
        )

    def give_way(self) -> None:
        """Give the messages back to the queue, to be delivered again after a while."""
        self._tell(p.GiveWay())

    def stop(self) -> None:
        """Settle what can be settled in order, release the rest; begin nothing if not yet begun."""
        self._stop_first = not self._running
        self._tell(p.Stop())

    def expire(self) -> None:
        """Release all that is not on its last step."""
        self._tell(p.Expire())

    def lose(self) -> None:
        """The lease is lost: end without touching the messages again."""
        self._tell(p.Lost())

    async def run(self, *, after: anyio.Event | None = None) -> None:
        """Run to the end. If cancelled, ends what is under way and releases, then is cancelled.

        Args:
            after: Wait for this before anything is begun: an older lane of the group ends first.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_lease)
                if after is not None:
                    await after.wait()
                await self._lease.wait_fresh()
                self._running = True
                first = self._lane.feed(p.Stop()) if self._stop_first else self._lane.open()
                for command in first:
                    await self._carry_out(command, tasks)
                while not self._lane.closed:
                    self._on_change()
                    for command in self._lane.feed(await self._events.receive()):
                        await self._carry_out(command, tasks)
                tasks.cancel_scope.cancel()
        finally:
            if not self._lane.closed:
                with anyio.CancelScope(shield=True):
                    await self._give_up()
            self._events.close()
            self._events_in.close()
            self.closed.set()

    async def _keep_lease(self) -> None:
        await self._lease.keep(on_lost=self.lose, on_old=self.stop)

    async def _give_up(self) -> None:
        """Cancelled from outside: the messages go back as they are."""
        for job in self._jobs.values():
            self._consumers.cancel(job)
        for job in self._jobs.values():
            await job.ended.wait()
        await self._lease.stop()
        states = self._lane.states()
        if not self._lease.lost:
            await self._release([n for n in sorted(states, reverse=True) if states[n] != "settled"])

    def _tell(self, event: p.Event) -> None:
        # The buffer holds more than a lane of ten messages can ever have to say at once.
        if not self._lane.closed:
            self._events_in.send_nowait(event)

    async def _carry_out(self, command: p.Command, tasks: TaskGroup) -> None:
        call: Callable[[], Awaitable[None]]
        match command:
            case p.Prepare(sequence, suspect):
                self._submit(sequence, suspect=suspect)
            case p.Cancel(sequence):
                self._cancel(sequence)
            case p.Wait(sequence, seconds):
                tasks.start_soon(self._wait, sequence, seconds)
            case p.Release(sequences, hidden_seconds):
                with anyio.CancelScope(shield=True):  # both have their deadlines
                    await self._lease.stop()
                    await self._release(sequences, hidden_seconds)
            case p.Close():
                await self._lease.stop()
            case p.Start(sequence, covers):
                call = partial(self._start, sequence, covers)
                tasks.start_soon(self._step, sequence, call, p.Started)
            case p.Supersede(sequence, by):
                call = partial(self._supersede, sequence, by)
                tasks.start_soon(self._step, sequence, call, p.Started)
            case p.Delete(sequence):
                call = partial(self._delete, sequence)
                tasks.start_soon(self._step, sequence, call, p.Settled)
            case p.SendDeadLetter(sequence, attempts):
                call = partial(self._bury, sequence, attempts)
                tasks.start_soon(self._step, sequence, call, p.Settled)

    def _submit(self, sequence: int, *, suspect: bool) -> None:
        async def prepare() -> None:
            self._prepared[sequence] = await self._pipeline.prepare(
                self._works[sequence], guard=self._lease.guard, suspect=suspect
            )

        async def run() -> None:
            try:
                await self._report(sequence, prepare, p.Prepared(sequence))
            except anyio.get_cancelled_exc_class():
                self._tell(p.Dropped(sequence))
                raise

        push = self._works[sequence].push
        job = Job(self, run, forge=push.repository.forge if push else "")
        self._jobs[sequence] = job
        self._submitted[sequence] = anyio.current_time()
        self._consumers.submit(job)

    async def _step(
        self,
        sequence: int,
        call: Callable[[], Awaitable[None]],
        done: Callable[[int], p.Event],
    ) -> None:
        with anyio.CancelScope() as scope:
            self._scopes[sequence] = scope
            await self._report(sequence, call, done(sequence))
        if scope.cancelled_caught:
            self._tell(p.Dropped(sequence))

    async def _start(self, sequence: int, covers: Sequence[int]) -> None:
        now = anyio.current_time()
        first = self._first_starts.get(sequence)
        self._first_starts.setdefault(sequence, now)
        order = Dispatch(
            self._prepared[sequence],
            covers=[self._works[each] for each in covers],
            tried_seconds_ago=None if first is None else now - first,
            is_duplicate=self._is_duplicate(sequence),
        )
        await self._pipeline.dispatch(order, guard=self._lease.guard, tally=self._tallies[sequence])

    def _is_duplicate(self, sequence: int) -> bool:
        """Return whether an older message of this lane is about the same event, sent twice."""
        push = self._works[sequence].push
        others = (work.push for n, work in self._works.items() if n < sequence)
        return push is not None and any(
            other and (other.id, other.repository) == (push.id, push.repository) for other in others
        )

    async def _supersede(self, sequence: int, by: int) -> None:
        await self._pipeline.supersede(
            self._works[sequence], by=self._works[by], guard=self._lease.guard
        )

    async def _delete(self, sequence: int) -> None:
        message = self._messages[sequence]
        self._lease.guard()
        self._lease.forget(message)
        try:
            await self._queue.delete(message)
        except BaseException:
            self._lease.remember(message)
            raise

    async def _bury(self, sequence: int, attempts: int) -> None:
        message, failure = self._messages[sequence], self._failures[sequence]
        if failure.kind.is_waited_out:
            failure = self._failures[sequence] = self._give_up_waiting(sequence, failure)
        if isinstance(failure, Incomplete):
            attempts = failure.attempts
        if sequence not in self._buried:  # a copy is recognised as one for five minutes only
            self._lease.guard()
            if not await self._pipeline.keeps(self._works[sequence], failure):
                await self._delete(sequence)
                return
            self._lease.guard()
            await self._queue.dead_letter(
                message, kind=failure.kind, reason=str(failure), attempts=attempts
            )
            self._buried.add(sequence)
        await self._pipeline.dead_letter(self._works[sequence], failure, attempts=attempts)
        await self._delete(sequence)

    def _give_up_waiting(self, sequence: int, failure: StageError) -> StageError:
        """Return the failure with how long it was waited for; parts that were done stay done."""
        since = self._failing_since.get(sequence, anyio.current_time())
        waited = f"waited for {anyio.current_time() - since:.0f} s"
        return self._tallies[sequence].abandon(waited) or after_waiting(failure, waited)

    async def _report(
        self, sequence: int, call: Callable[[], Awaitable[None]], done: p.Event
    ) -> None:
        """Make the call and tell the machine how it went."""
        try:
            await call()
        except LeaseLost as error:
            emit(LeaseLostToAnother(reason=str(error), message_id=self._id(sequence)))
            self._tell(p.Failed(sequence, Kind.BUSY))
            self._tell(p.Lost())
        except StageError as error:
            self._fail(sequence, error)
        except Exception as error:  # noqa: BLE001 - the one place: a bug is one push's failure
            emit(PushBug(message_id=self._id(sequence)), error=error)
            self._fail(sequence, Retry(f"internal error: {type(error).__name__}: {error}"))
        else:
            self._failing_since.pop(sequence, None)
            self._tell(done)

    def _fail(self, sequence: int, error: StageError) -> None:
        if error.scope is Scope.SERVICE:
            self.fatal = error
        state = self._lane.states()[sequence]
        # Why it could not be buried is not why it is being buried.
        if state is not p.State.BURYING:
            self._failures[sequence] = error
        if state in _LAST_STEPS:
            emit(
                PushNotSettled(
                    message_id=self._id(sequence),
                    step=_LAST_STEPS[state],
                    kind=error.kind,
                    reason=str(error),
                )
            )
        # Jitter spreads load; nobody must be unable to guess it.
        jitter = random.random()  # noqa: S311
        waited_seconds = 0.0
        if error.kind.is_waited_out and not isinstance(error, PendingTries):
            now = anyio.current_time()
            waited_seconds = now - self._failing_since.setdefault(sequence, now)
        after_seconds = error.after_seconds or 0.0
        self._tell(p.Failed(sequence, error.kind, jitter, after_seconds, waited_seconds))

    def _cancel(self, sequence: int) -> None:
        state = self._lane.states()[sequence]
        if state is p.State.PREPARING:
            if self._consumers.cancel(self._jobs[sequence]):
                self._tell(p.Dropped(sequence))
        elif sequence in self._scopes:
            self._scopes[sequence].cancel()

    async def _wait(self, sequence: int, seconds: float) -> None:
        await anyio.sleep(seconds)
        self._tell(p.Due(sequence))

    async def _release(self, sequences: Sequence[int], hidden_seconds: float = 0.0) -> None:
        """Give messages back, tail first. What fails here comes back by itself, only later."""
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
                    reason=str(self._failures.get(sequences[-1], "")) if hidden else None,
                )
            )

    def _reason(self, sequence: int, state: p.State) -> str:
        failure = self._failures.get(sequence)
        return str(failure) if failure and state in _WITH_REASON else ""

    def _id(self, sequence: int) -> str:
        return self._messages[sequence].id


def _works_of(messages: Sequence[Message], pipeline: Stages) -> dict[int, Work]:
    """Read the messages; each work knows the events behind it."""
    works: dict[int, Work] = {}
    later: tuple[Push | Nothing, ...] = ()
    for message in reversed(messages):
        work = pipeline.read(message)
        works[message.sequence] = replace(work, later=later)
        own = () if isinstance(work.event, Reject) else (work.event, *work.more)
        later = (*own, *later)
    return dict(reversed(works.items()))


def _held(work: Work, facts: QueueFacts) -> p.LaneMessage:
    message = work.message
    age = datetime.now(UTC) - message.sent if message.sent else timedelta()
    return held(
        message.sequence,
        receive_count=message.receive_count,
        ref=work.supersedable_ref,
        age_seconds=age.total_seconds(),
        max_receive_count=facts.max_receive_count,
        retention_seconds=facts.retention_seconds,
    )
