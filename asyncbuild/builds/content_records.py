"""Bodies of the ledger's objects about contents that were started and passed, as JSON. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from asyncbuild.builds.ledger_records import dump_record, read_record
from asyncbuild.domain.contents.content_history import (
    ContentHistory,
    RunningContent,
    SeenContent,
)
from asyncbuild.domain.errors import reading
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import StartedId, StartedKind
from asyncbuild.domain.times import read_time

_VERSION: Final = 1


def history_record(
    history: ContentHistory, *, repository: Repository, ref: str, of: StartedId
) -> bytes:
    """Return the record of a history as `read_history` reads it.

    Args:
        history: The history.
        repository: Repository, for people.
        ref: Full name of the ref, for people.
        of: A build or execution of it, whose project or pipeline is named for people.
    """
    return dump_record(
        {
            "version": _VERSION,
            "repository": repository.segments._asdict(),
            "ref": ref,
            "kind": of.kind,
            "name": of.name,
            "started": history.started,
            "passed": history.passed,
            "failed_at": history.failed_at,
            "running": [
                {
                    "kind": each.of.kind,
                    "name": each.of.name,
                    "id": each.of.number,
                    "digest": each.digest,
                    "event_id": each.event_id,
                    "since": each.since,
                }
                for each in history.running
            ],
        }
    )


def read_history(key: str, body: bytes) -> ContentHistory:
    """Return the history in the body of a record.

    Raises:
        Reject: The record cannot be read; the reason names the key.
    """
    told = read_record(key, body)
    with reading(f"record {key}", remedy="delete the object"):
        if told["version"] != _VERSION:
            raise ValueError
        failed_at = told["failed_at"]
        return ContentHistory(
            started=_read_seen(told["started"]),
            passed=_read_seen(told["passed"]),
            failed_at=None if failed_at is None else _time(failed_at),
            running=tuple(_read_running(each) for each in told["running"]),
        )


def _read_seen(told: Mapping[str, Any] | None) -> SeenContent | None:
    if told is None:
        return None
    return SeenContent(
        _text(told["digest"]), _text(told["commit"]), _text(told["event_id"]), _time(told["at"])
    )


def _read_running(told: Mapping[str, Any]) -> RunningContent:
    of = StartedId(StartedKind(told["kind"]), _text(told["name"]), _text(told["id"]))
    return RunningContent(of, _text(told["digest"]), _text(told["event_id"]), _time(told["since"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _time(value: object) -> datetime:
    time = read_time(value)
    if time is None:
        raise ValueError
    return time
