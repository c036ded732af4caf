"""Long polls of a queue without lanes: consumers, pauses after failures, and three ways to end."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import anyio

from asyncbuild.domain.errors import Kind, StageError
from asyncbuild.domain.model import Message
from asyncbuild.queue.sqs import Queue

_LONGEST_PAUSE_SECONDS: Final = 30.0
_DRAIN_FAILURES_MOST: Final = 3


class TellsFailures(Protocol):
    """Tells that a queue cannot be read."""

    def __call__(self, kind: Kind, reason: str, retry_in_seconds: float) -> None:
        """Tell it, once for a while."""


class Polling:
    """Receives messages and has them settled until told to stop; failures do not end it.

    Args:
        receive: Returns the messages of one long poll.
        work: Settles messages; returns whether the next ones would fail, too.
        tell: Tells that receiving failed.
        consumers: Number of polls at the same time.
    """

    def __init__(
        self,
        *,
        receive: Callable[[], Awaitable[Sequence[Message]]],
        work: Callable[[Sequence[Message]], Awaitable[bool]],
        tell: TellsFailures,
        consumers: int,
    ) -> None:
        self._receive = receive
        self._work = work
        self._tell = tell
        self._consumers = consumers
        self._stopping = anyio.Event()
        self._scope = anyio.CancelScope()
        self.draining = False
        self.in_flight = 0

    @property
    def stopping(self) -> bool:
        """True after `stop`."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Receive no more; what was received is settled."""
        self._stopping.set()

    def drain(self) -> None:
        """End when the queue stays empty for one long poll."""
        self.draining = True

    def expire(self) -> None:
        """Cancel what is in flight: it comes again when its visibility timeout is over."""
        self.stop()
        self._scope.cancel()

    async def run(self) -> None:
        """Consume until `stop`, or until the queue is empty after `drain`. Raises no failure."""
        with self._scope:
            async with anyio.create_task_group() as tasks:
                for _ in range(self._consumers):
                    tasks.start_soon(self._consume)

    async def _consume(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            pause = pause_seconds(failures)
            try:
                messages = await self._receive()
                if not messages and self.draining:
                    return
                failed = await self._work_on(messages)
            except StageError as error:
                failed = True
                self._tell(error.kind, str(error), pause)
            except Exception as error:  # noqa: BLE001 - a bug must not end the service
                failed = True
                self._tell(Kind.BUG, f"internal error: {type(error).__name__}: {error}", pause)
            failures = failures + 1 if failed else 0
            if self.draining and failures == _DRAIN_FAILURES_MOST:
                return  # what cannot be done now waits in the queue
            if failed:
                with anyio.move_on_after(pause):
                    await self._stopping.wait()

    async def _work_on(self, messages: Sequence[Message]) -> bool:
        self.in_flight += len(messages)
        try:
            return await self._work(messages)
        finally:
            self.in_flight -= len(messages)


def pause_seconds(failures: int) -> float:
    """Return the pause after so many failures in a row: 1 s, doubled to 30 s."""
    return min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(failures, 10))


async def send_to_dead_letters(queue: Queue, message: Message, *, kind: Kind, reason: str) -> None:
    """Send a message to the dead-letter queue of its queue, each receive counted as a try.

    Args:
        queue: The queue.
        message: The message; the caller deletes it.
        kind: Kind of the error.
        reason: The error's text, for people.

    Raises:
        ConfigError: The queue has no dead-letter queue.
        StageError: SQS refused, or cannot be reached.
    """
    await queue.find_dead_letter_queue(await queue.facts())
    await queue.dead_letter(message, kind=kind, reason=reason, attempts=message.receive_count)
