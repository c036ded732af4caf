"""Sender of outcome events: at once, or later from the ledger, and at least once."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, Protocol

from asyncbuild.domain.errors import Denied, Fatal, Reject, StageError
from asyncbuild.domain.events.outcome_events import (
    OutcomeDelayed,
    OutcomeGivenUp,
    OutcomeSent,
    OutcomesOff,
)
from asyncbuild.domain.outcomes.outcome_event import OutcomeEvent, has_outcome, outcome_events
from asyncbuild.domain.results.build_result import BuildResult
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.reports.outcomes.event_bus import UnsentEvent
from asyncbuild.reports.outcomes.outcome_ledger import OutcomeLedger
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import about, emit

_OFF_SECONDS: Final = 3_600.0
_GIVEN_UP_AFTER: Final = timedelta(days=7)


class PutsEvents(Protocol):
    """Takes events; `reports.outcomes.event_bus.EventBus` does."""

    name: str

    async def put(self, events: Sequence[OutcomeEvent]) -> list[UnsentEvent]:
        """Send events, and return those that were not taken."""


class OutcomeSender:
    """Sends the events of ends. What EventBridge does not take waits in the ledger for a round.

    Args:
        ledger: Tells what an end means, and keeps what waits.
        bus: The event bus.
        with_reasons: Add the message of the failed phase, which may quote a command.
        monotonic: Clock of the hour without tries after a refusal, in seconds.
        clock: Clock of the world.
    """

    def __init__(
        self,
        ledger: OutcomeLedger,
        bus: PutsEvents,
        *,
        with_reasons: bool,
        monotonic: Callable[[], float],
        clock: Clock = utc_now,
    ) -> None:
        self._ledger = ledger
        self._bus = bus
        self._with_reasons = with_reasons
        self._monotonic = monotonic
        self._clock = clock
        self._off_until = 0.0
        self._has_kept = False

    async def tell_end(self, started: StartedBuild, result: BuildResult) -> None:
        """Send the events of an end, or keep them for later; a stopped build makes none.

        The caller keeps the mark of an unfinished build until this returns: so a process that dies
        before leaves an end that is told again.

        Args:
            started: The build.
            result: Its newest attempt.

        Raises:
            StageError: The ledger refused. A failure of EventBridge is only told.
        """
        if not has_outcome(result):
            return
        with about(started.identity):
            meaning = await self._ledger.add_end(started, result)
            events = outcome_events(started, result, meaning, with_reason=self._with_reasons)
            if await self._put(events):
                await self._ledger.keep(events)
                self._has_kept = True
                return
        if self._has_kept:  # EventBridge is back
            self._has_kept = False
            await self.send_unsent()

    async def send_unsent(self) -> None:
        """Send the events that wait, oldest first, until one fails. Raises no `StageError`."""
        if self._is_off:
            return
        try:
            for key in await self._ledger.list_unsent():
                if not await self._send_kept(key):
                    self._has_kept = True
                    return
        except StageError as error:
            emit(OutcomeDelayed(events=0, kind=error.kind, reason=str(error)))

    async def _send_kept(self, key: str) -> bool:
        """Send the events of one end; return whether to go on with the next."""
        try:
            events = await self._ledger.find_unsent(key)
        except Reject as error:
            emit(OutcomeGivenUp(outcome_id="", detail_type="", kind=error.kind, reason=str(error)))
            await self._ledger.drop_unsent(key)
            return True
        unsent = await self._put(events)
        if unsent and self._clock() - events[0].time < _GIVEN_UP_AFTER:
            return not (self._is_off or any(each.error.kind.is_waited_out for each in unsent))
        for each in unsent:
            emit(_given_up(each))
        await self._ledger.drop_unsent(key)
        return True

    async def _put(self, events: Sequence[OutcomeEvent]) -> list[UnsentEvent]:
        """Send events; tell what was sent and what was not, and return the latter."""
        if self._is_off:
            why = Denied(f"event bus {self._bus.name} refused an event within the last hour")
            return [UnsentEvent(each, why) for each in events]
        unsent = await self._bus.put(events)
        ids = {each.event.id for each in unsent}
        for each in events:
            if each.id not in ids:
                emit(self._sent(each))
        if unsent:
            self._tell_unsent(unsent)
        return unsent

    def _tell_unsent(self, unsent: Sequence[UnsentEvent]) -> None:
        error = unsent[0].error
        if isinstance(error, Denied | Fatal):
            self._off_until = self._monotonic() + _OFF_SECONDS
            emit(OutcomesOff(bus=self._bus.name, reason=str(error), seconds=_OFF_SECONDS))
        else:
            emit(OutcomeDelayed(events=len(unsent), kind=error.kind, reason=str(error)))

    @property
    def _is_off(self) -> bool:
        return self._monotonic() < self._off_until

    def _sent(self, event: OutcomeEvent) -> OutcomeSent:
        waited = (self._clock() - event.time).total_seconds()
        return OutcomeSent(
            outcome_id=event.id,
            detail_type=event.detail_type,
            since_end_seconds=round(max(0.0, waited), 3),
        )


def _given_up(unsent: UnsentEvent) -> OutcomeGivenUp:
    event, error = unsent.event, unsent.error
    return OutcomeGivenUp(
        outcome_id=event.id, detail_type=event.detail_type, kind=error.kind, reason=str(error)
    )
