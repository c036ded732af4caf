"""What happens to the service as a whole: its start, its end, and what it finds around it."""

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Event, event


@event("config.doubt", "warning")
class ConfigDoubt(Event):
    """A setting that is possible, and can hardly be meant; told at the start."""

    doubt: str
    reason: str
    remedy: str


@event("service.started", "info")
class ServiceStarted(Event):
    """Everything is open."""

    queue: str
    bucket: str
    consumers: int
    drain: bool


@event("service.stopping", "info")
class ServiceStopping(Event):
    """A signal came; `second` cancels."""

    signal: str
    second: bool


@event("service.grace-ends", "warning")
class ServiceGraceEnds(Event):
    """What is not on its last step is released now."""

    remaining_seconds: float


@event("service.stopped", "info")
class ServiceStopped(Event):
    """Everything in flight was settled or released."""


@event("service.failed", "error")
class ServiceFailed(Event):
    """The last line of a service that an error ends; nothing is lost."""

    kind: Kind
    reason: str
    remedy: str
    exit_code: int


@event("service.memory", "warning")
class ServiceMemory(Event):
    """The settings allow more memory than there is."""

    reason: str


@event("library.logged", "warning", "error")
class LibraryLogged(Event):
    """A library warned, or an error was not caught."""

    logger: str
    reason: str


@event("status.listening", "info")
class StatusListening(Event):
    """The status page is served."""

    address: str


@event("status.unavailable", "error")
class StatusUnavailable(Event):
    """The status page cannot be served; pushes are."""

    reason: str
    remedy: str


@event("status.bug", "error")
class StatusBug(Event):
    """A part of the status no longer works; pushes do."""


@event("protection.changed", "debug")
class ProtectionChanged(Event):
    """ECS will not stop this task for so long; 0: it may at once."""

    minutes: int


@event("protection.failed", "warning")
class ProtectionFailed(Event):
    """ECS may stop this task while it has work in flight. Told once, until it works again."""

    reason: str
    remedy: str


@event("protection.bug", "error")
class ProtectionBug(Event):
    """The protection no longer works; pushes do."""


@event("guard.none", "warning")
class GuardNone(Event):
    """No process ends the children of this one if it is killed."""

    reason: str


@event("secret.not-renewed", "warning")
class SecretNotRenewed(Event):
    """A secret of `[[hosts]]` could not be read again; it stays as it was."""

    kind: Kind
    reason: str


@event("scratch.left", "warning")
class ScratchLeft(Event):
    """A temporary directory could not be removed."""

    directory: str
