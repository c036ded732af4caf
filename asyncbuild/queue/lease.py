"""The lease: visibility of all held messages of one delivery, renewed together, and its fence.

A group stays closed while its head is invisible, but the others' receipt handles lapse if only the
head is renewed; so all are renewed in one call. `guard` is called before each commit (I4).
`queue/lane/lease_clock.py` decides when to renew.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import anyio

from asyncbuild.domain.errors import LeaseLost, StageError
from asyncbuild.domain.events.queue_events import LeaseRenewalFailed, LeaseRenewed
from asyncbuild.domain.model import Message
from asyncbuild.queue.lane.lease_clock import Renewal, Term
from asyncbuild.runtime.emit import emit

_LAST_ANSWER_SECONDS = 2  # time for a running renewal to be answered when the lease is given up


class RenewsMessages(Protocol):
    """Renews the visibility of messages; `queue.sqs.Queue` does."""

    async def renew(self, messages: Sequence[Message], *, seconds: int) -> Renewal:
        """Set the visibility timeout of up to ten messages. Raises StageError."""


class Lease:
    """Holds messages from their receive until they are deleted or released.

    Args:
        queue: The queue that they came from.
        messages: All messages of one group in one delivery.
        asked_at: `anyio.current_time()` before the receive was sent.
        visibility_seconds: The visibility timeout asked for.
    """

    def __init__(
        self,
        queue: RenewsMessages,
        messages: Sequence[Message],
        *,
        asked_at: float,
        visibility_seconds: int,
    ) -> None:
        self._queue = queue
        self._held = {message.id: message for message in messages}
        self._doubtful: set[str] = set()
        self._term = Term(asked_at=asked_at, visibility_seconds=visibility_seconds)
        self._scope = anyio.CancelScope()
        self._keeping = False
        self._kept = anyio.Event()
        self._fresh = anyio.Event()

    @property
    def lost(self) -> bool:
        """True once commits are refused."""
        return self._term.is_over(anyio.current_time())

    def limit_hidden(self, seconds: float) -> int:
        """Return how long SQS lets a message of this delivery be hidden, `seconds` at most."""
        return self._term.limit(seconds, anyio.current_time())

    def guard(self) -> None:
        """Return if a commit is safe now.

        Raises:
            LeaseLost: The lease is lost, or may be when the commit arrives.
        """
        if self.lost:
            raise LeaseLost("the lease on this push ran out before its work was done")

    def forget(self, message: Message) -> None:
        """Stop renewing `message`, which is being deleted."""
        self._held.pop(message.id, None)

    def remember(self, message: Message) -> None:
        """Renew `message` again, because its delete failed.

        It may be deleted all the same, with only the answer lost. So from now on a refusal to renew
        it says nothing about the lease.
        """
        self._held[message.id] = message
        self._doubtful.add(message.id)

    async def wait_fresh(self) -> None:
        """Wait until there is time to work: a long poll may have used most of the timeout."""
        await self._fresh.wait()

    async def keep(self, *, on_lost: Callable[[], None], on_old: Callable[[], None]) -> None:
        """Renew until `stop`; call `on_lost` once if the lease is lost, `on_old` before 12 h."""
        self._keeping = True
        try:
            with self._scope:
                await self._keep(on_lost, on_old)
        finally:
            self._fresh.set()
            self._kept.set()

    async def stop(self) -> None:
        """End the renewing and wait for its end, so that no late renewal undoes a release."""
        self._scope.cancel()
        if self._keeping:
            await self._kept.wait()

    async def _keep(self, on_lost: Callable[[], None], on_old: Callable[[], None]) -> None:
        term, told = self._term, False
        while True:
            if anyio.current_time() < term.wakes_at:
                self._fresh.set()
                await anyio.sleep_until(term.wakes_at)
            # Past its end a renewal may still find the messages ours, if none was received since.
            # That helps only before the first commit; later a commit was refused already.
            if not (self._fresh.is_set() and self.lost):
                await self._renew()
            if self.lost:
                term.lose()
                on_lost()
                return
            if not told and term.is_old(anyio.current_time()):
                told = True
                on_old()

    async def _renew(self) -> None:
        """Renew once; if cancelled meanwhile, wait a little for the answer all the same.

        A renewal that is cut off may still be on its way, and overtake the release that follows.
        """
        now = anyio.current_time()
        patience = self._term.patience_seconds
        if self._fresh.is_set():
            patience = min(patience, self._term.ends_at - now)
        shelter = anyio.CancelScope(shield=True, deadline=now + patience)
        ended = anyio.Event()

        async def call() -> None:
            with shelter:
                await self._ask_for_more(now)
            if shelter.cancelled_caught:
                self._failed("no answer in time")
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            try:
                await ended.wait()
            finally:
                last = anyio.current_time() + _LAST_ANSWER_SECONDS
                shelter.deadline = min(shelter.deadline, last)

    async def _ask_for_more(self, now: float) -> None:
        held = list(self._held.values())
        if not held:
            self._term.not_renewed(now)
            return
        seconds = self._term.renewal_seconds(now)
        try:
            answer = await self._queue.renew(held, seconds=seconds)
        except StageError as error:
            self._failed(str(error))
            return
        for gone in answer.lost & self._doubtful:
            self._held.pop(gone, None)
        # A message that was deleted during the call is not lost.
        if answer.lost & self._held.keys():
            self._term.lose()
        elif answer.failed:
            self._failed(answer.reason)
        else:
            self._term.renewed(sent_at=now, seconds=seconds)
            emit(LeaseRenewed(messages=len(held)))

    def _failed(self, reason: str) -> None:
        emit(LeaseRenewalFailed(messages=len(self._held), reason=reason))
        self._term.not_renewed(anyio.current_time())
