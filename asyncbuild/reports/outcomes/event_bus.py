"""EventBridge bus that outcome events are sent to: PutEvents, and the answer for each event.

Sources: EventBridge API reference, PutEvents and PutEventsResultEntry; user guide, "Calculating
PutEvents event entry size".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.error_codes import meaning_of
from asyncbuild.domain.errors import NoPermission, Retry, StageError
from asyncbuild.domain.outcomes.outcome_event import SOURCE, OutcomeEvent

if TYPE_CHECKING:
    from types_aiobotocore_events import EventBridgeClient

ENTRIES_MOST: Final = 10
REQUEST_BYTES_MOST: Final = 256_000
_ENTRY_OWN_BYTES: Final = 14 + len(SOURCE)  # of its time, and of its source
_REFUSALS: Final = frozenset(
    {"NotAuthorizedForDetailTypeException", "NotAuthorizedForSourceException"}
)


@dataclass(frozen=True, slots=True)
class UnsentEvent:
    """Event that EventBridge did not take, and why."""

    event: OutcomeEvent
    error: StageError


class EventBus:
    """Sender of events to one bus.

    Args:
        client: Client for EventBridge.
        name: Name or ARN of the bus.
    """

    def __init__(self, client: "EventBridgeClient", name: str) -> None:
        self._client = client
        self.name = name

    async def put(self, events: Sequence[OutcomeEvent]) -> list[UnsentEvent]:
        """Send events, and return those that were not taken. Raises no `StageError`.

        After a request that failed as a whole no other is made: it would fail, too.
        """
        unsent, error = list[UnsentEvent](), None
        for some in in_requests(events):
            if error is None:
                try:
                    unsent += await self._put(some)
                    continue
                except StageError as refused:
                    error = refused
            unsent += [UnsentEvent(each, error) for each in some]
        return unsent

    async def _put(self, events: Sequence[OutcomeEvent]) -> list[UnsentEvent]:
        doing = f"send {len(events)} events to event bus {self.name}"
        entries: Any = [
            {
                "Time": each.time,
                "Source": SOURCE,
                "DetailType": each.detail_type.value,
                "Detail": each.detail,
                "Resources": list(each.resources),
                "EventBusName": self.name,
            }
            for each in events
        ]
        with errors_of(doing, peer="events"):
            answer = await self._client.put_events(Entries=entries)
        if not answer.get("FailedEntryCount"):
            return []
        # Answers are in the order of the entries (API reference, PutEvents).
        pairs = zip(events, answer.get("Entries", ()), strict=False)
        return [
            UnsentEvent(event, error_of_entry(doing, told))
            for event, told in pairs
            if "ErrorCode" in told
        ]


def error_of_entry(doing: str, told: Any) -> StageError:  # noqa: ANN401 - botocore's shape
    """Return the error of one entry of an answer to PutEvents.

    Args:
        doing: The call, for people.
        told: The entry, with `ErrorCode` and `ErrorMessage`.
    """
    code = str(told["ErrorCode"])
    class_ = NoPermission if code in _REFUSALS else meaning_of(code) or Retry
    return class_(f"{doing}: {code}: {told.get('ErrorMessage', '')}", peer="events", code=code)


def in_requests(events: Sequence[OutcomeEvent]) -> Iterator[list[OutcomeEvent]]:
    """Yield events in groups that one request may have: ten, and 256 KiB together."""
    group, size = list[OutcomeEvent](), 0
    for each in events:
        more = entry_bytes(each)
        if group and (len(group) == ENTRIES_MOST or size + more > REQUEST_BYTES_MOST):
            yield group
            group, size = [], 0
        group.append(each)
        size += more
    if group:
        yield group


def entry_bytes(event: OutcomeEvent) -> int:
    """Return the size of an event as EventBridge counts it, in bytes."""
    texts = (event.detail_type, event.detail, *event.resources)
    return _ENTRY_OWN_BYTES + sum(len(each.encode()) for each in texts)
