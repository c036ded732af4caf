"""State of a started build or execution, and the choice between two observations of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class StartedKind(StrEnum):
    """Kind of what a push has started; the words are parts of the ledger's keys."""

    BUILD = "build"  # of CodeBuild
    BATCH = "batch"  # of CodeBuild: several builds with one result
    EXECUTION = "execution"  # of a pipeline


class BuildStatus(StrEnum):
    """State of a build, batch or execution.

    CodeBuild has these six (API reference, Build, buildStatus). Of a pipeline's states (API
    reference, PipelineExecution, status) InProgress and Stopping are IN_PROGRESS, Failed is FAILED,
    and Cancelled, Stopped and Superseded are STOPPED.
    """

    IN_PROGRESS = "in-progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    FAULT = "fault"  # CodeBuild's own error
    TIMED_OUT = "timed-out"
    STOPPED = "stopped"

    @property
    def is_end(self) -> bool:
        """True if a build stays in this state."""
        return self is not BuildStatus.IN_PROGRESS

    @property
    def is_passed(self) -> bool:
        """True if the build ended well."""
        return self is BuildStatus.SUCCEEDED

    @property
    def is_failed(self) -> bool:
        """True if the build failed, timed out, or ended by a fault."""
        return self in {BuildStatus.FAILED, BuildStatus.FAULT, BuildStatus.TIMED_OUT}


@dataclass(frozen=True, slots=True)
class StartedId:
    """Identity of a build, batch or execution in its account and Region.

    Attributes:
        kind: What it is.
        name: Name of the project or pipeline.
        number: Id below that name: the UUID of a build's id `project:uuid`, or the execution's id.
    """

    kind: StartedKind
    name: str
    number: str

    @property
    def id(self) -> str:
        """Id as the API takes it: `project:uuid` of builds and batches, else the execution's."""
        return self.number if self.kind is StartedKind.EXECUTION else f"{self.name}:{self.number}"


@dataclass(frozen=True, slots=True)
class BuildResult:
    """State of a build, batch or execution at one time, as its service described it.

    Attributes:
        of: The build that the push started; the first attempt, if CodeBuild tried it again.
        status: State of the newest attempt.
        observed_at: When the service was asked.
        attempt: Number of the attempt that this describes, from 1.
        attempt_id: Id of that attempt: of a retried build not the id in `of`.
        number: The build's number in its project; None if it has none.
        phase: Phase that failed, in CodeBuild's words (`BUILD`), or the pipeline's `stage/action`;
            empty if none did.
        exit_code: Exit code of the command that failed; None if the service names none.
        reason: Message of the failed phase, which may quote the command; empty if there is none.
        queued_seconds, provisioning_seconds, building_seconds: Durations of its phases: before an
            environment was looked for, until it was there, and the rest; None while unknown.
        started_at, ended_at: Begin and end of this attempt; None while unknown.
        log_link: Address of its log; empty if there is none.
        initiator: Principal that started this attempt, as the service names it.
        superseded_by: Id of the newer push for which it was stopped; empty if it was not.
        superseded_by_commit: Commit that this push has started in its place.
    """

    of: StartedId
    status: BuildStatus
    observed_at: datetime
    attempt: int = 1
    attempt_id: str = ""
    number: int | None = None
    phase: str = ""
    exit_code: int | None = None
    reason: str = ""
    queued_seconds: float | None = None
    provisioning_seconds: float | None = None
    building_seconds: float | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    log_link: str = ""
    initiator: str = ""
    superseded_by: str = ""
    superseded_by_commit: str = ""

    @property
    def total_seconds(self) -> float | None:
        """Seconds from the begin of this attempt to its end; None while unknown."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


def newest(known: BuildResult | None, seen: BuildResult) -> BuildResult:
    """Return the one of two observations of a push's build that counts.

    A later attempt counts more than an earlier one. Of one attempt an end counts more than
    IN_PROGRESS, and of two ends the known one stays: a build ends once. Only an execution may end
    again, after its failed stage was tried again (CodePipeline user guide, "Retry a failed stage"):
    then the end that was observed later counts. Of two observations without an end the later one
    counts, and of two builds of one push the one that was started later.
    """
    if known is None:
        return seen
    if known.of != seen.of:
        return seen if _begin(seen) > _begin(known) else known
    if seen.attempt != known.attempt:
        return seen if seen.attempt > known.attempt else known
    later = seen.observed_at > known.observed_at
    if known.status.is_end:
        again = seen.of.kind is StartedKind.EXECUTION and seen.status.is_end
        return seen if again and later and seen.status is not known.status else known
    return seen if seen.status.is_end or later else known


def _begin(result: BuildResult) -> datetime:
    return result.started_at or result.observed_at
