"""What all events share: a name, levels, fields, and the push that an event is about."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Final, Literal, Self, TypeVar, cast, dataclass_transform

from asyncbuild.domain.model import Push, trace_id

LogLevel = Literal["debug", "info", "warning", "error"]


class Event:
    """Something that happened.

    Attributes:
        name: Of the line in the log.
        levels: At which it may be told. `emit` names one where there are several.
        of_push: It is always about one push, whose `PushIdentity` the line carries besides.
        field_names: In the order of the line.
        optional: Fields that are left out of the line while they are None; the others are null.
    """

    __slots__ = ()
    name: ClassVar[str]
    levels: ClassVar[tuple[LogLevel, ...]]
    of_push: ClassVar[bool]
    field_names: ClassVar[tuple[str, ...]]
    optional: ClassVar[frozenset[str]]

    def fields(self) -> dict[str, Any]:
        """Return what the line in the log says, without the push's own fields."""
        values = {name: getattr(self, name) for name in self.field_names}
        for name in self.optional:
            if values[name] is None:
                del values[name]
        return values


_Made = TypeVar("_Made", bound=Event)

EVENTS: Final[dict[str, type[Event]]] = {}
"""Every event by its name; complete after `asyncbuild.domain.events` was imported."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def event(
    name: str, *levels: LogLevel, of_push: bool = False
) -> Callable[[type[_Made]], type[_Made]]:
    """Make a class a frozen dataclass, and the event that is logged as `name`."""

    def make(class_: type[_Made]) -> type[_Made]:
        made = dataclass(frozen=True, slots=True, kw_only=True)(class_)
        made.name, made.levels, made.of_push = name, levels, of_push
        declared = fields(cast("Any", made))
        made.field_names = tuple(each.name for each in declared)
        made.optional = frozenset(each.name for each in declared if each.default is not MISSING)
        EVENTS[name] = made
        return made

    return make


@dataclass(frozen=True, slots=True)
class PushIdentity:
    """What every event about one push carries besides its own fields."""

    event_id: str
    account: str
    repository: str
    ref: str
    commit: str
    trace_id: str

    @classmethod
    def of(cls, push: Push) -> Self:
        """Return what identifies `push`."""
        return cls(
            event_id=push.id,
            account=push.repository.segments.account,
            repository=push.repository.name,
            ref=push.ref,
            commit=push.commit,
            trace_id=trace_id(push.id),
        )

    def fields(self) -> dict[str, str]:
        """Return them by name."""
        return {name: getattr(self, name) for name in PUSH_FIELDS}


PUSH_FIELDS: Final = tuple(each.name for each in fields(PushIdentity))


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event as subscribers get it: at its level, with the push that it happened for, if any."""

    event: Event
    level: LogLevel
    push: PushIdentity | None = None

    @property
    def event_id(self) -> str:
        """Return the id of the push that the event names itself, or happened for; else empty."""
        own = getattr(self.event, "event_id", None)
        return own or (self.push.event_id if self.push else "")

    def fields(self) -> dict[str, Any]:
        """Return all fields of the line in the log, besides its name and level."""
        about = self.push.fields() if self.push else {}
        return {**about, **self.event.fields()}
