"""Events of running builds that a newer push has superseded: stopped, not stopped."""

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Event, event


@event("build.cancelled", "info", of_push=True)
class BuildCancelled(Event):
    """A running build was told to stop, because a newer push of its ref has started one.

    The line is of the older push. `by` is the id of the newer one, `by_commit` its commit. A
    pipeline's execution ends after the actions that it is in.
    """

    project: str | None
    pipeline: str | None
    build_id: str
    by: str
    by_commit: str


@event("cancel.failed", "warning")
class CancelFailed(Event):
    """A superseded build was not stopped; it is tried again, at the latest by the next round."""

    repository: str
    ref: str
    kind: Kind
    reason: str
    retry_in_seconds: float | None = None


@event("cancel.off", "warning")
class CancelOff(Event):
    """Builds of a project, or executions of a pipeline, may not be stopped: none is for a while."""

    project: str | None
    pipeline: str | None
    reason: str
    seconds: float
