"""Results as parts of the status document: from events, and from the ledger. Pure."""

from datetime import datetime

from asyncbuild.domain.events.event import PushIdentity
from asyncbuild.domain.events.result_events import ResultRecorded
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)
from asyncbuild.status.schema import ResultStatus, SettledPush

_BATCH = ":build-batch/"  # in the ARN of a batch


def shown_event(event: ResultRecorded, *, now: float) -> ResultStatus:
    """Return the state that an event tells; `now` is when it was told."""
    return ResultStatus(
        time=now,
        status=event.status.value,
        attempt=event.attempt,
        build_number=event.build_number,
        phase=event.phase,
        exit_code=event.exit_code,
        queued_seconds=event.queued_seconds,
        provisioning_seconds=event.provisioning_seconds,
        building_seconds=event.building_seconds,
        total_seconds=event.total_seconds,
        started_at=_epoch(event.started_at),
        ended_at=_epoch(event.ended_at),
        log_link=event.log_link,
        superseded_by_commit=event.superseded_by_commit,
    )


def shown_record(result: BuildResult) -> ResultStatus:
    """Return the state that a record of the ledger tells."""
    return ResultStatus(
        time=result.observed_at.timestamp(),
        status=result.status.value,
        attempt=result.attempt,
        build_number=result.number,
        phase=result.phase,
        exit_code=result.exit_code,
        queued_seconds=result.queued_seconds,
        provisioning_seconds=result.provisioning_seconds,
        building_seconds=result.building_seconds,
        total_seconds=result.total_seconds,
        started_at=_epoch(result.started_at),
        ended_at=_epoch(result.ended_at),
        log_link=result.log_link or None,
        superseded_by_commit=result.superseded_by_commit or None,
    )


def replaces(seen: ResultStatus, known: ResultStatus | None, *, ends_again: bool = False) -> bool:
    """Return whether `seen` is shown in the place of `known`, as `build_result.newest` decides.

    Args:
        seen: A state.
        known: The state that is shown; None if there is none.
        ends_again: Whether it may end again after an end, as an execution does.
    """
    if known is None or seen.attempt != known.attempt:
        return known is None or seen.attempt > known.attempt
    later = seen.time > known.time
    if is_end(known):
        return ends_again and is_end(seen) and later and seen.status != known.status
    return is_end(seen) or later


def is_end(result: ResultStatus | None) -> bool:
    """Return whether the build has ended."""
    return result is not None and result.status != BuildStatus.IN_PROGRESS


def lone_row(push: PushIdentity, event: ResultRecorded, *, now: float) -> SettledPush:
    """Return a row for a build whose start this task does not know.

    Args:
        push: The push that started it.
        event: Its result.
        now: When that was told.
    """
    return SettledPush(
        time=now,
        event_id=push.event_id,
        account=push.account,
        repository=push.repository,
        ref=push.ref,
        commit=push.commit,
        verdict="handed-over" if event.pipeline else "built",
        project=event.project,
        build_id=None if event.pipeline else event.build_id,
        build_arn=event.build_arn,
        pipeline=event.pipeline,
        pipeline_arn=event.pipeline_arn,
        execution_id=event.build_id if event.pipeline else None,
        result=shown_event(event, now=now),
        result_alone=True,
    )


def started_id(row: SettledPush) -> StartedId | None:
    """Return the build, batch or execution that a row is about; None if it started none."""
    if row.execution_id:
        return StartedId(StartedKind.EXECUTION, row.pipeline or "", row.execution_id)
    if not row.build_id:
        return None
    return build_id_of(row.build_id, row.build_arn or "")


def build_id_of(build_id: str, arn: str) -> StartedId:
    """Return the identity of the build or batch `project:uuid`; its ARN tells which it is."""
    name, _, number = build_id.rpartition(":")
    return StartedId(StartedKind.BATCH if _BATCH in arn else StartedKind.BUILD, name, number)


def _epoch(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
