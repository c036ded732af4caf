"""Progress of each push, from the service's events. For display only: no verdict depends on it.

`verify.py` finds out what really became of the pushes.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from asyncbuild.domain.events.event import Emitted, Event
from asyncbuild.domain.events.push_events import (
    PushBuilt,
    PushDeadLettered,
    PushIgnored,
    PushNothingToDo,
    PushStale,
    PushSuperseded,
    PushUploaded,
)
from asyncbuild.domain.events.result_events import ResultRecorded
from asyncbuild.domain.events.service_events import StatusListening
from asyncbuild.domain.events.stage_events import (
    PushPrepareFinished,
    PushPrepareStarted,
    PushUploadFinished,
    PushUploadStarted,
)
from asyncbuild.local.verify import Pushed


class PushProgress(Enum):
    """Progress of a push: a sign, a colour and a word for each state."""

    PUSHED = ("·", "bright_black", "pushed")
    FETCHING = ("░", "yellow", "fetching")
    ARCHIVING = ("▒", "dark_orange", "archiving")
    ARCHIVED = ("▓", "cyan", "archived")
    STARTED = ("█", "bright_cyan", "started")
    PASSED = ("✓", "green", "passed")
    FAILED = ("✗", "red", "failed")
    UPLOADED = ("■", "blue", "uploaded only")
    NOTHING = ("○", "bright_black", "nothing to build")
    DEAD_LETTERED = ("!", "bold red", "dead-lettered")

    @property
    def sign(self) -> str:
        """Character for the cells."""
        return self.value[0]

    @property
    def colour(self) -> str:
        """Style of rich."""
        return self.value[1]

    @property
    def word(self) -> str:
        """Word for the legend."""
        return self.value[2]

    @property
    def is_end(self) -> bool:
        """Return whether the push is settled; its build may still run."""
        return self in _ENDS


_RESULTS = frozenset({PushProgress.PASSED, PushProgress.FAILED})
_ENDS = _RESULTS | {
    PushProgress.STARTED,
    PushProgress.UPLOADED,
    PushProgress.NOTHING,
    PushProgress.DEAD_LETTERED,
}
_MOST_WARNINGS = 20


@dataclass(slots=True)
class Board:
    """Pushes by repository, oldest first, each with its progress.

    Also the way each archive was made, the service's warnings, and the address of its status page.
    """

    expected: Mapping[str, int]
    pushes: dict[str, list[Pushed]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    page: str = ""
    ways: dict[str, str] = field(default_factory=dict)  # push id → how its archive was made
    _places: dict[str, PushProgress] = field(default_factory=dict)
    _reached: list[tuple[Pushed, PushProgress]] = field(default_factory=list)
    _known: dict[str, Pushed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pushes.update({name: [] for name in self.expected})

    def add(self, push: Pushed) -> None:
        """Add a push that was made and is about to be sent."""
        self.pushes.setdefault(push.repository, []).append(push)
        self._known[push.id] = push
        self._places[push.id] = PushProgress.PUSHED

    def replace(self, push: Pushed, by: Pushed) -> None:
        """Know a push by another id from now on, under which it was found.

        Args:
            push: The push as it was added.
            by: The push as it is now.
        """
        lane = self.pushes[push.repository]
        lane[lane.index(push)] = by
        self._known[by.id] = by
        self._places[by.id] = self._places.pop(push.id)

    def hear(self, told: Emitted) -> None:
        """Update the board by one event of the service."""
        if told.level in {"warning", "error"} and len(self.warnings) < _MOST_WARNINGS:
            reason = getattr(told.event, "reason", "")
            self.warnings.append(f"{told.event.name}: {reason}".rstrip(": "))
        match told.event:
            case StatusListening(address=address):
                self.page = address
            case PushUploadFinished(archive_kind=kind):
                self.ways[told.event_id] = kind
            case event:
                self._move(told.event_id, _place_after(event))

    def _move(self, event_id: str, place: PushProgress | None) -> None:
        push = self._known.get(event_id)
        if place is None or push is None:
            return
        before = self._places[push.id]
        if before is place or (before.is_end and place not in _RESULTS):
            return
        self._places[push.id] = place
        if place.is_end:
            self._reached.append((push, place))

    def place_of(self, push: Pushed) -> PushProgress:
        """Return the progress of `push`."""
        return self._places[push.id]

    def counts(self) -> Counter[PushProgress]:
        """Return the number of pushes in each state."""
        return Counter(self._places.values())

    def take_reached(self) -> list[tuple[Pushed, PushProgress]]:
        """Return the pushes that were settled since the last call, and those whose build ended."""
        reached, self._reached = self._reached, []
        return reached


def _place_after(event: Event) -> PushProgress | None:
    """Return the progress of a push after an event of it; None if the event changes nothing."""
    place = None
    match event:
        case PushPrepareStarted():
            place = PushProgress.FETCHING
        case PushUploadStarted():
            place = PushProgress.ARCHIVING
        case PushPrepareFinished():
            place = PushProgress.ARCHIVED
        case PushBuilt():
            place = PushProgress.STARTED
        case ResultRecorded(status=status) if status.is_end:
            place = PushProgress.PASSED if status.is_passed else PushProgress.FAILED
        case PushUploaded():
            place = PushProgress.UPLOADED
        case PushIgnored() | PushStale() | PushSuperseded() | PushNothingToDo():
            place = PushProgress.NOTHING
        case PushDeadLettered():
            place = PushProgress.DEAD_LETTERED
        case _:
            pass
    return place
