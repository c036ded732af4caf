"""Events of the service as a whole: its start, its end, and faults of its surroundings."""

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Event, event


@event("config.doubt", "warning")
class ConfigDoubt(Event):
    """A setting is allowed, but hardly intended; told at the start."""

    doubt: str
    reason: str
    remedy: str


@event("service.started", "info")
class ServiceStarted(Event):
    """The service opened all its connections and files, and begins to receive."""

    queue: str
    bucket: str
    consumers: int
    drain: bool


@event("service.stopping", "info")
class ServiceStopping(Event):
    """A signal asked the service to stop; a `second` one cancels the work in flight."""

    signal: str
    second: bool


@event("service.grace-ends", "warning")
class ServiceGraceEnds(Event):
    """The time for a graceful stop ends: all but pushes on their last step are released now."""

    remaining_seconds: float


@event("service.stopped", "info")
class ServiceStopped(Event):
    """The service stopped: everything in flight was settled or released."""


@event("service.failed", "error")
class ServiceFailed(Event):
    """An error ends the service; this is its last line. Nothing is lost."""

    kind: Kind
    reason: str
    remedy: str
    exit_code: int


@event("service.memory", "warning")
class ServiceMemory(Event):
    """The settings allow more memory than the machine or container has."""

    reason: str


@event("library.logged", "warning", "error")
class LibraryLogged(Event):
    """A library logged a warning, or an error was not caught."""

    logger: str
    reason: str


@event("status.listening", "info")
class StatusListening(Event):
    """The status page is served."""

    address: str


@event("status.unavailable", "error")
class StatusUnavailable(Event):
    """The status page cannot be served; pushes still are."""

    reason: str
    remedy: str


@event("status.bug", "error")
class StatusBug(Event):
    """A part of the status page failed and stays off; pushes go on."""


@event("protection.changed", "debug")
class ProtectionChanged(Event):
    """ECS does not stop this task for `minutes`; with 0 it may stop it at once."""

    minutes: int


@event("protection.failed", "warning")
class ProtectionFailed(Event):
    """ECS may stop this task while it has work in flight; told once until the call works again."""

    reason: str
    remedy: str


@event("protection.bug", "error")
class ProtectionBug(Event):
    """The task protection failed and stays off; pushes go on."""


@event("guard.none", "warning")
class GuardNone(Event):
    """No process guards this one: its children would outlive it if it was killed."""

    reason: str


@event("secret.not-renewed", "warning")
class SecretNotRenewed(Event):
    """A secret of `[[hosts]]` could not be read again; the one in memory stays in use."""

    kind: Kind
    reason: str


@event("scratch.left", "warning")
class ScratchLeft(Event):
    """A temporary directory could not be removed."""

    directory: str
