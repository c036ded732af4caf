"""How pushes end: built, handed over, given up, and what stands in the way of that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from asyncbuild.domain.errors import Kind, StageError
from asyncbuild.domain.events.event import Event, event
from asyncbuild.domain.model import Outcome, Push, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOutcome(Event):
    """A push, or one target of it, was settled.

    None is what there is not, such as the build of a push that is ignored. `since_push_seconds`
    count from the push (time of its event, whole seconds); the last three are those of its stages,
    left out where a stage was not needed.
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
    """The archive is in S3, and no more was asked for."""

    verdict = Verdict.UPLOADED


@event("push.ignored", "info", of_push=True)
class PushIgnored(PushOutcome):
    """A rule says to do nothing."""

    verdict = Verdict.IGNORED


@event("push.stale", "info", of_push=True)
class PushStale(PushOutcome):
    """A newer push of its ref, which contains it, was built before."""

    verdict = Verdict.STALE


_OF_VERDICT: Final[Mapping[Verdict, type[PushOutcome]]] = {
    each.verdict: each for each in (PushBuilt, PushHandedOver, PushUploaded, PushIgnored, PushStale)
}


def outcome_event(outcome: Outcome, *, since_push_seconds: float) -> PushOutcome:
    """Return the event that tells how one target of a push was settled."""
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
    """A newer push of its ref stands for it."""

    verdict = Verdict.SUPERSEDED

    by: str


@event("push.nothing-to-do", "info", "debug")
class PushNothingToDo(Event):
    """An event that asks for no build.

    Level debug if it has no good signature and 20 of its host and hour were recorded.
    """

    event_id: str
    reason: str


@event("push.dead-lettered", "error")
class PushDeadLettered(Event):
    """Given up: it is in the dead-letter queue. None is what could not be understood."""

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
    """Return the event that tells that a message was given up, or one push of it."""
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
    """Its body leaves little room in the dead-letter queue: attributes are cut or left out."""

    message_id: str
    lacking: list[str]


@event("push.not-settled", "warning")
class PushNotSettled(Event):
    """It could not be deleted, or not be dead-lettered (`step`), and is tried again.

    No later push of its group is settled before it.
    """

    message_id: str
    step: str
    kind: Kind
    reason: str


@event("push.bug", "error")
class PushBug(Event):
    """An error that no stage meant to raise."""

    message_id: str
