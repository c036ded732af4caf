"""Events of pushes that end: built, handed over, given up; and of what delays that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from asyncbuild.domain.errors import Kind, StageError
from asyncbuild.domain.events.event import Event, event
from asyncbuild.domain.model import Outcome, Push, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOutcome(Event):
    """A push, or one target of it, was settled.

    Fields are None where nothing exists, such as the build of a push that is ignored.
    `since_push_seconds` counts from the push (time of its event, whole seconds); the last three are
    the durations of its stages, left out where a stage was not needed.
    """

    verdict: ClassVar[Verdict]

    reason: str
    rule: str | None
    project: str | None
    build_id: str | None
    build_arn: str | None
    pipeline: str | None
    pipeline_arn: str | None
    execution_id: str | None
    bucket: str | None
    key: str | None
    bytes: int | None
    archive_kind: str | None
    base: str | None
    sent_bytes: int | None
    copied_bytes: int | None
    files_read: int | None
    since_push_seconds: float
    fetch_seconds: float | None = None
    archive_seconds: float | None = None
    start_seconds: float | None = None


@event("push.built", "info", of_push=True)
class PushBuilt(PushOutcome):
    """A build was started."""

    verdict = Verdict.BUILT


@event("push.handed-over", "info", of_push=True)
class PushHandedOver(PushOutcome):
    """An execution of a pipeline was started."""

    verdict = Verdict.HANDED_OVER


@event("push.uploaded", "info", of_push=True)
class PushUploaded(PushOutcome):
    """The archive is in S3, and the rule asks for nothing else."""

    verdict = Verdict.UPLOADED


@event("push.ignored", "info", of_push=True)
class PushIgnored(PushOutcome):
    """The rule says to do nothing, or no rule matches."""

    verdict = Verdict.IGNORED


@event("push.stale", "info", of_push=True)
class PushStale(PushOutcome):
    """A newer push of its ref, which contains it, was built before."""

    verdict = Verdict.STALE


_OF_VERDICT: Final[Mapping[Verdict, type[PushOutcome]]] = {
    each.verdict: each for each in (PushBuilt, PushHandedOver, PushUploaded, PushIgnored, PushStale)
}


def outcome_event(outcome: Outcome, *, since_push_seconds: float) -> PushOutcome:
    """Return the event for the outcome of a push, or of one target of it."""
    target, archive = outcome.target, outcome.archive
    build, execution = outcome.build, outcome.execution
    return _OF_VERDICT[outcome.verdict](
        reason=outcome.reason,
        rule=target.rule if target else None,
        project=target.project if target else None,
        build_id=build.id if build else None,
        build_arn=build.arn if build else None,
        pipeline=target.pipeline if target else None,
        pipeline_arn=execution.arn if execution else None,
        execution_id=execution.id if execution else None,
        bucket=archive.bucket if archive else None,
        key=archive.key if archive else None,
        bytes=archive.size_bytes if archive else None,
        archive_kind=archive.kind if archive else None,
        base=archive.base if archive else None,
        sent_bytes=archive.sent_bytes if archive else None,
        copied_bytes=archive.copied_bytes if archive else None,
        files_read=archive.files_read if archive else None,
        since_push_seconds=since_push_seconds,
        fetch_seconds=outcome.timings.get("fetch"),
        archive_seconds=outcome.timings.get("archive"),
        start_seconds=outcome.timings.get("start"),
    )


@event("push.superseded", "info", of_push=True)
class PushSuperseded(Event):
    """A newer push of its ref was built in its place."""

    verdict = Verdict.SUPERSEDED

    by: str


@event("push.nothing-to-do", "info", "debug")
class PushNothingToDo(Event):
    """An event asks for no build.

    Level debug if it has no good signature and 20 of its host and hour were recorded.
    """

    event_id: str
    reason: str


@event("push.dead-lettered", "error")
class PushDeadLettered(Event):
    """A message was given up and moved to the dead-letter queue. Fields not understood are None."""

    message_id: str
    event_id: str | None
    repository: str | None
    ref: str | None
    commit: str | None
    kind: Kind
    reason: str
    attempts: int


def dead_letter_event(
    message_id: str, push: Push | None, why: StageError, *, attempts: int
) -> PushDeadLettered:
    """Return the event for a message, or one push of it, that was given up.

    Args:
        message_id: Id of the message in SQS.
        push: The push; None if the message could not be understood.
        why: Reason why it was given up.
        attempts: Tries that counted.
    """
    return PushDeadLettered(
        message_id=message_id,
        event_id=push.id if push else None,
        repository=push.repository.name if push else None,
        ref=push.ref if push else None,
        commit=push.commit if push else None,
        kind=why.kind,
        reason=str(why),
        attempts=attempts,
    )


@event("push.dead-letter-shortened", "warning")
class PushDeadLetterShortened(Event):
    """Attributes of a dead letter were cut or left out, because its body leaves little room."""

    message_id: str
    lacking: list[str]


@event("push.not-settled", "warning")
class PushNotSettled(Event):
    """A message could not be deleted or dead-lettered (`step`); the step is tried again.

    No later push of its group is settled before it.
    """

    message_id: str
    step: str
    kind: Kind
    reason: str


@event("push.bug", "error")
class PushBug(Event):
    """A stage ended by an error that it did not raise on purpose."""

    message_id: str
