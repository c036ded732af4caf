"""Where each push is on its way, as the service's own log tells. To look at: nothing counts on it.

What did become of the pushes is for `verify.py` to say.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from asyncbuild.local.verify import Pushed


class PushProgress(Enum):
    """How far a push has come: a sign, a colour and a word for it."""

    PUSHED = ("·", "bright_black", "pushed")
    FETCHING = ("░", "yellow", "fetching")
    ARCHIVING = ("▒", "dark_orange", "archiving")
    ARCHIVED = ("▓", "cyan", "archived")
    BUILT = ("█", "green", "built")
    UPLOADED = ("■", "blue", "uploaded only")
    NOTHING = ("○", "bright_black", "nothing to build")
    FAILED = ("✗", "red", "failed")

    @property
    def sign(self) -> str:
        """One character."""
        return self.value[0]

    @property
    def colour(self) -> str:
        """A style of rich."""
        return self.value[1]

    @property
    def word(self) -> str:
        """For the legend."""
        return self.value[2]

    @property
    def is_end(self) -> bool:
        """Return whether nothing more is to come."""
        return self in _ENDS


_ENDS = frozenset(
    {PushProgress.BUILT, PushProgress.UPLOADED, PushProgress.NOTHING, PushProgress.FAILED}
)
_TOLD: Mapping[str, PushProgress] = {
    "push.prepare.started": PushProgress.FETCHING,
    "push.upload.started": PushProgress.ARCHIVING,
    "push.prepare.finished": PushProgress.ARCHIVED,
    "push.built": PushProgress.BUILT,
    "push.uploaded": PushProgress.UPLOADED,
    "push.ignored": PushProgress.NOTHING,
    "push.stale": PushProgress.NOTHING,
    "push.superseded": PushProgress.NOTHING,
    "push.nothing-to-do": PushProgress.NOTHING,
    "push.dead-lettered": PushProgress.FAILED,
}
_MOST_WARNINGS = 20


@dataclass(slots=True)
class Board:
    """The pushes by repository, oldest first, each with its place.

    Also how archives were made, what the service warned of, and where it serves its status page.
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
        """A push was made and is about to be sent."""
        self.pushes.setdefault(push.repository, []).append(push)
        self._known[push.id] = push
        self._places[push.id] = PushProgress.PUSHED

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take in one line of the service's log."""
        if line.get("level") in {"warning", "error"} and len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(f"{line.get('event')}: {line.get('reason', '')}".rstrip(": "))
        if line.get("event") == "status.listening":
            self.page = str(line.get("address"))
        if line.get("event") == "push.upload.finished":
            self.ways[str(line.get("event_id"))] = str(line.get("archive_kind"))
        place, push = _TOLD.get(str(line.get("event"))), self._known.get(str(line.get("event_id")))
        if place is None or push is None or self._places[push.id].is_end:
            return
        self._places[push.id] = place
        if place.is_end:
            self._reached.append((push, place))

    def place_of(self, push: Pushed) -> PushProgress:
        """Where `push` is."""
        return self._places[push.id]

    def counts(self) -> Counter[PushProgress]:
        """How many pushes are at each place."""
        return Counter(self._places.values())

    def take_reached(self) -> list[tuple[Pushed, PushProgress]]:
        """The pushes that have come to their end since this was asked last."""
        reached, self._reached = self._reached, []
        return reached
