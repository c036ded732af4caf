"""Outcome events as EventBridge takes them: detail types, ids and details."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from asyncbuild.domain.foreign_text import plain, to_json
from asyncbuild.domain.outcomes.build_end import LINK_MOST, BuildEnd
from asyncbuild.domain.outcomes.end_history import EndMeaning, Transition
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus, StartedKind
from asyncbuild.domain.results.console_links import result_link
from asyncbuild.domain.results.started_build import StartedBuild

SOURCE: Final = "asyncbuild"
VERSION: Final = 1
_TEXT_MOST: Final = 1_000  # characters of a phase, a reason, a name


class DetailType(StrEnum):
    """Detail types of outcome events."""

    PASSED = "BuildPassed"
    FAILED = "BuildFailed"
    BROKE = "BuildBroke"
    FIXED = "BuildFixed"


_OF_STATUS: Final = {
    BuildStatus.SUCCEEDED: DetailType.PASSED,
    BuildStatus.FAILED: DetailType.FAILED,
    BuildStatus.TIMED_OUT: DetailType.FAILED,
    BuildStatus.FAULT: DetailType.FAILED,
}
_OF_TRANSITION: Final = {Transition.BROKE: DetailType.BROKE, Transition.FIXED: DetailType.FIXED}


@dataclass(frozen=True, slots=True)
class OutcomeEvent:
    """One event for EventBridge.

    Attributes:
        id: Id, equal each time that the event is sent.
        detail_type: Its detail type.
        detail: JSON of its detail.
        time: When the build ended.
        resources: ARNs of what the event is about.
    """

    id: str
    detail_type: DetailType
    detail: str
    time: datetime
    resources: tuple[str, ...] = ()


def has_outcome(result: BuildResult) -> bool:
    """Return whether a result makes events: it is an end, and the build was not stopped."""
    return result.status in _OF_STATUS


def outcome_events(
    started: StartedBuild, result: BuildResult, meaning: EndMeaning, *, with_reason: bool
) -> tuple[OutcomeEvent, ...]:
    """Return the events that the end of a build makes: one, and one more for a change.

    Args:
        started: The build.
        result: Its end.
        meaning: Its meaning among the ends of its ref and project.
        with_reason: Add the message of the failed phase, which may quote a command.
    """
    types = [_OF_STATUS[result.status]]
    if meaning.transition is not None:
        types.append(_OF_TRANSITION[meaning.transition])
    detail = _detail(started, result, meaning)
    if with_reason:
        detail["reason"] = plain(result.reason, _TEXT_MOST)
    time = result.ended_at or result.observed_at
    made = []
    for each in types:
        id_ = _event_id(started, result, each)
        text = to_json({"version": VERSION, "id": id_, **detail}, utc_z=True).decode()
        arns = (started.arn,) if started.arn else ()
        made.append(OutcomeEvent(id_, each, text, time, arns))
    return tuple(made)


def read_entries(told: Any) -> tuple[OutcomeEvent, ...]:  # noqa: ANN401 - JSON of any shape
    """Return the events that `dump_entries` wrote.

    Raises:
        Exception: The value has another shape; `domain.errors.reading` turns it into a reason.
    """
    return tuple(
        OutcomeEvent(
            id=str(each["id"]),
            detail_type=DetailType(each["detail_type"]),
            detail=str(each["detail"]),
            time=datetime.fromisoformat(each["time"]),
            resources=tuple(map(str, each["resources"])),
        )
        for each in told
    )


def dump_entries(events: tuple[OutcomeEvent, ...]) -> list[dict[str, object]]:
    """Return events as JSON's values."""
    return [
        {
            "id": each.id,
            "detail_type": each.detail_type,
            "detail": each.detail,
            "time": each.time.isoformat(),
            "resources": list(each.resources),
        }
        for each in events
    ]


def _detail(started: StartedBuild, result: BuildResult, meaning: EndMeaning) -> dict[str, object]:
    of, seconds = started.of, result.total_seconds
    is_execution = of.kind is StartedKind.EXECUTION
    return {
        "repository": {
            **started.repository.segments._asdict(),
            "full_name": started.repository.full_name,
        },
        "ref": started.ref,
        "commit": started.commit,
        "event_id": started.event_id,
        "pushed_at": started.pushed_at,
        "project": None if is_execution else of.name,
        "pipeline": of.name if is_execution else None,
        "rule": plain(started.rule, _TEXT_MOST),
        "build": {
            "id": of.id,
            "kind": of.kind,
            "arn": started.arn,
            "attempt": result.attempt,
            "attempt_id": plain(result.attempt_id, _TEXT_MOST),
            "link": plain(result_link(of, started.arn, result), LINK_MOST),
            "log_link": plain(result.log_link, _TEXT_MOST),
        },
        "status": result.status,
        "phase": plain(result.phase, _TEXT_MOST),
        "exit_code": result.exit_code,
        "started_at": result.started_at,
        "ended_at": result.ended_at,
        "duration_seconds": None if seconds is None else round(max(0.0, seconds), 3),
        "late": meaning.late,
        "previous": None if meaning.previous is None else _previous(meaning.previous),
    }


def _previous(end: BuildEnd) -> dict[str, object]:
    return {
        "status": end.status,
        "commit": end.commit,
        "event_id": end.event_id,
        "build_id": end.of.id,
        "attempt": end.attempt,
        "ended_at": end.ended_at,
        "link": end.link,
    }


def _event_id(started: StartedBuild, result: BuildResult, detail_type: DetailType) -> str:
    of = started.of
    parts = (started.repository.path, started.ref, of.kind, of.name, of.number)
    text = "\n".join((*parts, str(result.attempt), detail_type))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
