"""Events of build results: found, recorded, looked for, given up."""

from datetime import datetime

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Event, event
from asyncbuild.domain.results.build_result import BuildStatus


@event("result.recorded", "info", of_push=True)
class ResultRecorded(Event):
    """The state of a build or execution was written to the ledger.

    Times and durations are left out while they are unknown. `since_end_seconds` counts from the end
    of the build, `since_push_seconds` from the push to the end of the build. `superseded_by` is the
    newer push for which the build was stopped, `superseded_by_commit` its commit.
    """

    status: BuildStatus
    project: str | None
    pipeline: str | None
    build_id: str
    attempt: int
    build_number: int | None
    phase: str
    exit_code: int | None
    queued_seconds: float | None = None
    provisioning_seconds: float | None = None
    building_seconds: float | None = None
    total_seconds: float | None = None
    since_end_seconds: float | None = None
    since_push_seconds: float | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    log_link: str | None = None
    build_arn: str | None = None
    pipeline_arn: str | None = None
    by_sweep: bool | None = None
    superseded_by: str | None = None
    superseded_by_commit: str | None = None


@event("result.not-ours", "debug")
class ResultNotOurs(Event):
    """A build has ended that this service did not start, or whose index entry is gone."""

    build_id: str
    status: str
    waited_seconds: float


@event("results.swept", "info")
class ResultsSwept(Event):
    """A round asked for all unfinished builds.

    `unfinished` counts the builds without an end after the round, `found` the ends that no event
    had told, `oldest_seconds` is the age of the oldest build without an end.
    """

    unfinished: int
    asked: int
    found: int
    oldest_seconds: float
    seconds: float


@event("result.receive-failed", "warning")
class ResultReceiveFailed(Event):
    """The queue of results cannot be read; it is tried again after `retry_in_seconds`."""

    kind: Kind
    reason: str
    retry_in_seconds: float


@event("result.delayed", "warning")
class ResultDelayed(Event):
    """A result could not be found out or recorded; its message becomes visible again later."""

    message_id: str
    build_id: str
    kind: Kind
    reason: str
    retry_in_seconds: float


@event("result.dead-lettered", "error")
class ResultDeadLettered(Event):
    """A message of the queue of results was given up and moved to its dead-letter queue."""

    message_id: str
    reason: str
