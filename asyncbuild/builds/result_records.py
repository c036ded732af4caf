"""Bodies of the ledger's objects about build results, as JSON: written and parsed. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from asyncbuild.builds.ledger_keys import LedgerKeys, slot_of
from asyncbuild.builds.ledger_records import dump_record, read_record
from asyncbuild.domain.contents.compared_content import ComparedContent, is_history_name
from asyncbuild.domain.errors import Reject, reading
from asyncbuild.domain.git_names import check_commit
from asyncbuild.domain.model import Outcome, Push, RefKind
from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.repository import decode_repository
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.domain.times import read_time

_VERSION: Final = 1
_MEND: Final = "delete or correct the object"


def started_by(
    push: Push, outcome: Outcome, *, keys: LedgerKeys, started_at: datetime
) -> StartedBuild | None:
    """Return the entry of the index for what a push has started; None if it has started nothing.

    Args:
        push: The push.
        outcome: What was done for one target of it.
        keys: Keys of the ledger.
        started_at: Time of the start.
    """
    of = started_id(outcome)
    if of is None:
        return None
    told = outcome.build or outcome.execution
    return StartedBuild(
        of=of,
        record=keys.record(push, slot_of(outcome.target)),
        event_id=push.id,
        repository=push.repository,
        ref=push.ref,
        commit=outcome.commit or push.commit,
        rule=outcome.target.rule if outcome.target else "",
        pushed_at=push.time,
        started_at=started_at,
        old_commit=push.old_commit or "",
        beside_order=not push.joins_order,
        arn=told.arn if told else "",
        compared=outcome.compared,
        is_supersedable=_is_supersedable(push, outcome),
    )


def started_id(outcome: Outcome) -> StartedId | None:
    """Return the identity of what was started for a target; None if nothing was."""
    if outcome.build is not None:
        project, _, number = outcome.build.id.rpartition(":")
        return StartedId(StartedKind.BUILD, project, number)
    if outcome.execution is not None:
        execution = outcome.execution
        return StartedId(StartedKind.EXECUTION, execution.pipeline, execution.id)
    return None


def started_record(started: StartedBuild) -> bytes:
    """Return the entry of the index as `read_started` reads it."""
    return dump_record(
        {
            **_identity_fields(started),
            "record": started.record,
            "rule": started.rule,
            "pushed_at": started.pushed_at,
            "started_at": started.started_at,
            "arn": started.arn,
            "old_commit": started.old_commit,
            **({"beside_order": True} if started.beside_order else {}),
            **({"compared": started.compared} if started.compared else {}),
            **({"supersedable": True} if started.is_supersedable else {}),
        }
    )


def read_started(key: str, body: bytes, *, keys: LedgerKeys) -> StartedBuild:
    """Return the entry of the index in an object's body.

    Args:
        key: Key of the object.
        body: Its contents.
        keys: Keys of the ledger: the entry's record must be one of its repository.

    Raises:
        Reject: The object cannot be read, or does not belong to its key; the reason names the key.
    """
    told = read_record(key, body)
    with reading(f"record {key}", remedy=_MEND):
        started = StartedBuild(
            of=StartedId(StartedKind(told["kind"]), told["name"], told["id"]),
            record=_text(told["record"]),
            event_id=_text(told["event_id"]),
            repository=decode_repository(**_segments(told["repository"])),
            ref=_text(told["ref"]),
            commit=_text(told["commit"]),
            rule=_text(told["rule"]),
            pushed_at=_time(told["pushed_at"]),
            started_at=_time(told["started_at"]),
            arn=_text(told.get("arn", "")),
            old_commit=_text(told.get("old_commit", "")),
            beside_order=told.get("beside_order") is True,
            compared=_read_compared(told.get("compared")),
            is_supersedable=told.get("supersedable") is True,
        )
        below = keys.pushes_of(started.repository)
        if keys.started(started.of) != key or not started.record.startswith(below):
            raise ValueError
        _check_names(started)
        return started


def result_record(started: StartedBuild, result: BuildResult) -> bytes:
    """Return the record of a build's result as `read_result` reads it."""
    return dump_record(
        {
            **_identity_fields(started),
            "status": result.status,
            "attempt": result.attempt,
            "attempt_id": result.attempt_id,
            "number": result.number,
            "phase": result.phase,
            "exit_code": result.exit_code,
            "reason": result.reason,
            "queued_seconds": result.queued_seconds,
            "provisioning_seconds": result.provisioning_seconds,
            "building_seconds": result.building_seconds,
            "started_at": result.started_at,
            "ended_at": result.ended_at,
            "observed_at": result.observed_at,
            "log_link": result.log_link,
            "initiator": result.initiator,
            **_superseder_fields(result),
        }
    )


def read_result(key: str, body: bytes) -> BuildResult:
    """Return the result in the body of a record.

    Raises:
        Reject: The record cannot be read; the reason names the key.
    """
    told = read_record(key, body)
    with reading(f"record {key}", remedy=_MEND):
        return BuildResult(
            of=StartedId(StartedKind(told["kind"]), _text(told["name"]), _text(told["id"])),
            status=BuildStatus(told["status"]),
            observed_at=_time(told["observed_at"]),
            attempt=int(told["attempt"]),
            attempt_id=_text(told.get("attempt_id", "")),
            number=_integer(told.get("number")),
            phase=_text(told.get("phase", "")),
            exit_code=_integer(told.get("exit_code")),
            reason=_text(told.get("reason", "")),
            queued_seconds=_seconds(told.get("queued_seconds")),
            provisioning_seconds=_seconds(told.get("provisioning_seconds")),
            building_seconds=_seconds(told.get("building_seconds")),
            started_at=read_time(told.get("started_at")),
            ended_at=read_time(told.get("ended_at")),
            log_link=_text(told.get("log_link", "")),
            initiator=_text(told.get("initiator", "")),
            superseded_by=_text(told.get("superseded_by", "")),
            superseded_by_commit=_text(told.get("superseded_by_commit", "")),
        )


def _superseder_fields(result: BuildResult) -> dict[str, object]:
    if not result.superseded_by:
        return {}
    return {
        "superseded_by": result.superseded_by,
        "superseded_by_commit": result.superseded_by_commit,
    }


def _is_supersedable(push: Push, outcome: Outcome) -> bool:
    wanted = outcome.target is not None and outcome.target.cancel_superseded
    return wanted and push.kind is RefKind.BRANCH and push.joins_order


def _identity_fields(started: StartedBuild) -> dict[str, object]:
    """Return the fields that the entry of the index and the record of the result share."""
    return {
        "version": _VERSION,
        "kind": started.of.kind,
        "name": started.of.name,
        "id": started.of.number,
        "event_id": started.event_id,
        "repository": started.repository.segments._asdict(),
        "ref": started.ref,
        "commit": started.commit,
    }


def _read_compared(told: object) -> ComparedContent | None:
    """Return the content that later pushes are compared with; its history is a part of a key."""
    if told is None:
        return None
    if not isinstance(told, dict) or not is_history_name(_text(told["history"])):
        raise ValueError
    return ComparedContent(told["history"], _text(told["digest"]))


def _segments(told: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(told[name]) for name in ("account", "region", "name")}


def _check_names(started: StartedBuild) -> None:
    """Refuse names that no push has: both go to a forge, the commit as a part of an address.

    Raises:
        ValueError: The ref or the commit is not one.
    """
    try:
        check_pushed_ref(started.ref)
        check_commit(started.commit)
    except Reject as error:
        raise ValueError from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _time(value: object) -> datetime:
    time = read_time(value)
    if time is None:
        raise ValueError
    return time


def _integer(value: object) -> int | None:
    if value is not None and not isinstance(value, int):
        raise TypeError
    return value


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise TypeError
    return float(value)
