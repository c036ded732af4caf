"""Runner of one lane: carries out the machine's commands and reports the results to it.

Everything a lane does happens inside `run`: when that returns, nothing of the lane is under way,
none of its messages is held, and the renewing has ended. Preparations run on the consumers; all
else runs in the lane's own task group. `lane_steps.py` has the steps themselves.
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial

import anyio
from anyio.abc import TaskGroup

from asyncbuild.domain.errors import Kind, LeaseLost, Retry, Scope, StageError
from asyncbuild.domain.events.push_events import PushBug, PushNotSettled
from asyncbuild.domain.events.queue_events import LeaseLostToAnother
from asyncbuild.domain.model import Message
from asyncbuild.queue.counters import InFlight
from asyncbuild.queue.lane import protocol as p
from asyncbuild.queue.lane.capacity import LaneActivity, find_standing
from asyncbuild.queue.lane.state_machine import Lane
from asyncbuild.queue.lane_steps import LaneServices, LaneSteps
from asyncbuild.queue.lease import Lease
from asyncbuild.queue.worker_pool import Job
from asyncbuild.runtime.emit import emit

_WITH_REASON = frozenset({p.State.PAUSED, p.State.FAILED, p.State.BURYING, p.State.DROPPED})
_LAST_STEPS = {p.State.SETTLING: "delete", p.State.BURYING: "dead-letter"}


class LaneRunner:
    """One delivery of one group, from receive to the last delete or release.

    Args:
        messages: The messages that were delivered, oldest first.
        lease: Lease that holds them.
        services: Services of the consumer.
        on_change: Called when something has changed in the lane.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        *,
        lease: Lease,
        services: LaneServices,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.closed = anyio.Event()
        self.fatal: StageError | None = None
        self._lease = lease
        self._consumers = services.consumers
        self._policy = services.policy
        self._on_change = on_change
        self._steps = LaneSteps(messages, lease=lease, services=services)
        self._lane = Lane(self._steps.lane_messages(), services.policy)
        self._submitted: dict[int, float] = {}
        self._jobs: dict[int, Job] = {}
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._events_in, self._events = anyio.create_memory_object_stream[p.Event](1_000)
        self._stop_first = False
        self._running = False

    @property
    def group(self) -> str:
        """Message group of the lane."""
        return self._steps.group

    @property
    def repositories(self) -> Iterator[str]:
        """Paths of the repositories that were pushed to, in order."""
        return self._steps.repositories

    def holds_any(self, messages: Iterable[Message]) -> bool:
        """Return whether one of `messages` is held here."""
        return self._steps.holds_any(messages)

    def statistics(self) -> tuple[InFlight, ...]:
        """Return each message with its state, in the queue's order."""
        return tuple(
            InFlight(self._steps.works[sequence], state.value, self._reason(sequence, state))
            for sequence, state in sorted(self._lane.states().items())
        )

    def standing(self) -> LaneActivity:
        """Return whether the lane waits for others, and whether it may be released for them."""
        if not self._running or self._lane.ending or self._lane.closed:
            return LaneActivity()
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
        """Release the messages, to be delivered again after a while."""
        self._tell(p.GiveWay())

    def stop(self) -> None:
        """Settle what can be settled in order, release the rest; before `run`, begin nothing."""
        self._stop_first = not self._running
        self._tell(p.Stop())

    def expire(self) -> None:
        """Release all messages that are not on their last step."""
        self._tell(p.Expire())

    def lose(self) -> None:
        """End without touching the messages again: the lease is lost."""
        self._tell(p.Lost())

    async def run(self, *, after: anyio.Event | None = None) -> None:
        """Run to the end. If cancelled, end what is under way, release the messages, and re-raise.

        Args:
            after: End of the group's older lane, awaited before anything is begun.
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
        """Release the messages as they are, because the lane was cancelled from outside."""
        for job in self._jobs.values():
            self._consumers.cancel(job)
        for job in self._jobs.values():
            await job.ended.wait()
        await self._lease.stop()
        states = self._lane.states()
        if not self._lease.lost:
            await self._steps.release(
                [n for n in sorted(states, reverse=True) if states[n] != "settled"]
            )

    def _tell(self, event: p.Event) -> None:
        # The buffer holds more events than a lane of ten messages can ever produce at once.
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
                    await self._steps.release(sequences, hidden_seconds)
            case p.Close():
                await self._lease.stop()
            case p.Start(sequence, covers):
                call = partial(self._steps.start, sequence, covers)
                tasks.start_soon(self._step, sequence, call, p.Started)
            case p.Supersede(sequence, by):
                call = partial(self._steps.supersede, sequence, by)
                tasks.start_soon(self._step, sequence, call, p.Started)
            case p.Delete(sequence):
                call = partial(self._steps.delete, sequence)
                tasks.start_soon(self._step, sequence, call, p.Settled)
            case p.SendDeadLetter(sequence, attempts):
                call = partial(self._steps.dead_letter, sequence, attempts)
                tasks.start_soon(self._step, sequence, call, p.Settled)

    def _submit(self, sequence: int, *, suspect: bool) -> None:
        prepare = partial(self._steps.prepare, sequence, suspect=suspect)

        async def run() -> None:
            try:
                await self._report(sequence, prepare, p.Prepared(sequence))
            except anyio.get_cancelled_exc_class():
                self._tell(p.Dropped(sequence))
                raise

        push = self._steps.works[sequence].push
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

    async def _report(
        self, sequence: int, call: Callable[[], Awaitable[None]], done: p.Event
    ) -> None:
        """Make the call and report its result to the machine.

        Args:
            sequence: Number of the message.
            call: The step.
            done: Event of its success.
        """
        try:
            await call()
        except LeaseLost as error:
            emit(LeaseLostToAnother(reason=str(error), message_id=self._steps.id_of(sequence)))
            self._tell(p.Failed(sequence, Kind.BUSY))
            self._tell(p.Lost())
        except StageError as error:
            self._fail(sequence, error)
        except Exception as error:  # noqa: BLE001 - the only place: a bug is one push's failure
            emit(PushBug(message_id=self._steps.id_of(sequence)), error=error)
            self._fail(sequence, Retry(f"internal error: {type(error).__name__}: {error}"))
        else:
            self._steps.succeed(sequence)
            self._tell(done)

    def _fail(self, sequence: int, error: StageError) -> None:
        if error.scope is Scope.SERVICE:
            self.fatal = error
        state = self._lane.states()[sequence]
        # If a dead letter cannot be sent, keep the reason of its push, not that of the sending.
        if state is not p.State.BURYING:
            self._steps.keep_failure(sequence, error)
        if state in _LAST_STEPS:
            emit(
                PushNotSettled(
                    message_id=self._steps.id_of(sequence),
                    step=_LAST_STEPS[state],
                    kind=error.kind,
                    reason=str(error),
                )
            )
        # Jitter spreads load; it need not be a secret.
        jitter = random.random()  # noqa: S311
        waited_seconds = self._steps.waited_seconds(sequence, error)
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

    def _reason(self, sequence: int, state: p.State) -> str:
        return self._steps.failure_of(sequence) if state in _WITH_REASON else ""
