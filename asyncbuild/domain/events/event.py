"""Base of all events: name, levels, fields, and the push that an event is about."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Final, Literal, Self, TypeVar, cast, dataclass_transform

from asyncbuild.domain.model import Push, trace_id
from asyncbuild.domain.repository import Repository

LogLevel = Literal["debug", "info", "warning", "error"]


class Event:
    """Base class of the events.

    Attributes:
        name: Name of the line in the log.
        levels: Levels that the line may have. `emit` names one where there are several.
        of_push: Whether the event is always about one push, whose `PushIdentity` the line contains,
            too.
        field_names: Names of the fields, in the order of the line.
        optional: Fields that are left out of the line while they are None; the others are null.
    """

    __slots__ = ()
    name: ClassVar[str]
    levels: ClassVar[tuple[LogLevel, ...]]
    of_push: ClassVar[bool]
    field_names: ClassVar[tuple[str, ...]]
    optional: ClassVar[frozenset[str]]

    def fields(self) -> dict[str, Any]:
        """Return the fields of the line in the log, without those of the push."""
        values = {name: getattr(self, name) for name in self.field_names}
        for name in self.optional:
            if values[name] is None:
                del values[name]
        return values


_Made = TypeVar("_Made", bound=Event)

EVENTS: Final[dict[str, type[Event]]] = {}
"""Every event by its name; complete after `domain/events/catalogue.py` was imported."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def event(
    name: str, *levels: LogLevel, of_push: bool = False
) -> Callable[[type[_Made]], type[_Made]]:
    """Make a class a frozen dataclass, and the event that is logged as `name`.

    Args:
        name: Name of the line in the log, such as `push.built`.
        levels: Levels that the line may have.
        of_push: The event is always about one push.
    """

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
    """Fields that every event about one push has in addition to its own."""

    event_id: str
    account: str
    repository: str
    ref: str
    commit: str
    trace_id: str

    @classmethod
    def of(cls, push: Push) -> Self:
        """Return the identity of `push`."""
        return cls.of_parts(push.id, push.repository, push.ref, push.commit)

    @classmethod
    def of_parts(cls, event_id: str, repository: Repository, ref: str, commit: str) -> Self:
        """Return the identity of a push that is known by its record.

        Args:
            event_id: Id of the push.
            repository: Its repository.
            ref: Full name of its ref.
            commit: Its commit.
        """
        return cls(
            event_id=event_id,
            account=repository.segments.account,
            repository=repository.name,
            ref=ref,
            commit=commit,
            trace_id=trace_id(event_id),
        )

    def fields(self) -> dict[str, str]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in PUSH_FIELDS}


PUSH_FIELDS: Final = tuple(each.name for each in fields(PushIdentity))


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event as subscribers receive it: with its level, and the push that it is about, if any."""

    event: Event
    level: LogLevel
    push: PushIdentity | None = None

    @property
    def event_id(self) -> str:
        """Return the id of the push that the event names itself or is about; else empty."""
        own = getattr(self.event, "event_id", None)
        return own or (self.push.event_id if self.push else "")

    def fields(self) -> dict[str, Any]:
        """Return all fields of the line in the log, except its name and level."""
        about = self.push.fields() if self.push else {}
        return {**about, **self.event.fields()}
