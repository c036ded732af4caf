"""Parser of the messages in the queue of results. Pure.

Two senders write there: rules of EventBridge, with the events of CodeBuild and CodePipeline (user
guides, "Build notifications input format reference" and "Monitoring CodePipeline events"), and the
scheduler that asks for a round. An event says that something has changed, at least once and in no
order; what is true now is asked of the service itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from asyncbuild.domain.errors import Reject, reading, show
from asyncbuild.domain.foreign_json import read_object
from asyncbuild.domain.results.build_result import BuildStatus, StartedId
from asyncbuild.domain.times import read_time
from asyncbuild.results.facts.attempt_facts import read_build_id, read_execution_id

_BUILDS: Final = "aws.codebuild"
_PIPELINES: Final = "aws.codepipeline"
_BUILD_CHANGE: Final = "CodeBuild Build State Change"
_EXECUTION_CHANGE: Final = "CodePipeline Pipeline Execution State Change"
_SWEEP: Final = "sweep"

BUILD_STATUSES: Final[Mapping[str, BuildStatus]] = {
    "IN_PROGRESS": BuildStatus.IN_PROGRESS,
    "SUCCEEDED": BuildStatus.SUCCEEDED,
    "FAILED": BuildStatus.FAILED,
    "FAULT": BuildStatus.FAULT,
    "TIMED_OUT": BuildStatus.TIMED_OUT,
    "STOPPED": BuildStatus.STOPPED,
}
"""States by CodeBuild's words (API reference, Build, buildStatus)."""

_EXECUTION_STATES: Final[Mapping[str, BuildStatus]] = {
    "STARTED": BuildStatus.IN_PROGRESS,
    "RESUMED": BuildStatus.IN_PROGRESS,
    "STOPPING": BuildStatus.IN_PROGRESS,
    "SUCCEEDED": BuildStatus.SUCCEEDED,
    "FAILED": BuildStatus.FAILED,
    "CANCELED": BuildStatus.STOPPED,
    "STOPPED": BuildStatus.STOPPED,
    "SUPERSEDED": BuildStatus.STOPPED,
}


@dataclass(frozen=True, slots=True)
class StateChange:
    """A build, batch or execution has changed; `status` is what the event said."""

    of: StartedId
    status: BuildStatus


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """A round is due; `scheduled_at` is None if the message does not tell."""

    scheduled_at: datetime | None


@dataclass(frozen=True, slots=True)
class OtherChange:
    """A well-formed event that is not about the state of a build; nothing follows from it."""

    what: str


ResultMessage = StateChange | SweepRequest | OtherChange


def read_result_message(body: str) -> ResultMessage:
    """Return what a message of the queue of results says.

    Raises:
        Reject: It is neither an event of CodeBuild or CodePipeline nor the scheduler's message.
    """
    with reading("message"):
        return _read(read_object(body, "message"))


def _read(told: Mapping[str, Any]) -> ResultMessage:
    if "asyncbuild" in told:
        return _read_own(told)
    source, kind, detail = (told.get(name) for name in ("source", "detail-type", "detail"))
    if source not in (_BUILDS, _PIPELINES) or not isinstance(kind, str):  # a list is in no set
        raise Reject(
            f"message is not an event of {_BUILDS} or {_PIPELINES}: source {show(source)}",
            remedy="correct the rule that sends to this queue",
        )
    if not isinstance(detail, dict):
        raise Reject(f"event {show(kind)} has no detail")
    if (source, kind) == (_BUILDS, _BUILD_CHANGE):
        return _read_build(detail)
    if (source, kind) == (_PIPELINES, _EXECUTION_CHANGE):
        return _read_execution(detail)
    return OtherChange(f"event {show(kind)}")


def _read_own(told: Mapping[str, Any]) -> SweepRequest:
    if told["asyncbuild"] != _SWEEP:
        raise Reject(f"message asks for {show(told['asyncbuild'])}, which this version cannot do")
    return SweepRequest(read_time(told.get("scheduled_time")))


def _read_build(detail: Mapping[str, Any]) -> StateChange | OtherChange:
    of = read_build_id(detail.get("build-id"))
    if of is None:
        raise Reject(f"build-id is not the ARN of a build: {show(detail.get('build-id'))}")
    return _change(of, detail.get("build-status"), BUILD_STATUSES)


def _read_execution(detail: Mapping[str, Any]) -> StateChange | OtherChange:
    pipeline, number = detail.get("pipeline"), detail.get("execution-id")
    of = read_execution_id(pipeline, number)
    if of is None:
        raise Reject(f"event names no execution: pipeline {show(pipeline)}, id {show(number)}")
    return _change(of, detail.get("state"), _EXECUTION_STATES)


def _change(
    of: StartedId, word: object, words: Mapping[str, BuildStatus]
) -> StateChange | OtherChange:
    if not isinstance(word, str):
        raise Reject(f"event about {of.id} names no state: {show(word)}")
    status = words.get(word)
    return OtherChange(f"state {show(word)}") if status is None else StateChange(of, status)
