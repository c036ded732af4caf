"""Bodies of the ledger's objects about outcome events, as JSON: written and parsed. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from asyncbuild.builds.ledger_records import dump_record, read_record
from asyncbuild.domain.errors import reading
from asyncbuild.domain.outcomes.build_end import BuildEnd
from asyncbuild.domain.outcomes.end_history import EndHistory
from asyncbuild.domain.outcomes.outcome_event import OutcomeEvent, dump_entries, read_entries
from asyncbuild.domain.results.build_result import BuildStatus, StartedId, StartedKind
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.domain.times import read_time

_VERSION: Final = 1
_MEND: Final = "delete the object"


def history_record(started: StartedBuild, history: EndHistory) -> bytes:
    """Return the record of the newest ends of a ref and project as `read_history` reads it.

    Args:
        started: Any build of them.
        history: The ends, newest first.
    """
    return dump_record(
        {
            "version": _VERSION,
            "repository": started.repository.segments._asdict(),
            "ref": started.ref,
            "ends": [
                {
                    "kind": each.of.kind,
                    "name": each.of.name,
                    "number": each.of.number,
                    "attempt": each.attempt,
                    "status": each.status,
                    "event_id": each.event_id,
                    "pushed_at": each.pushed_at,
                    "commit": each.commit,
                    "old_commit": each.old_commit,
                    "began_at": each.began_at,
                    "observed_at": each.observed_at,
                    "ended_at": each.ended_at,
                    "link": each.link,
                }
                for each in history
            ],
        }
    )


def read_history(key: str, body: bytes) -> EndHistory:
    """Return the newest ends of a ref and project, by their record.

    Raises:
        Reject: The record cannot be read; the reason names the key.
    """
    told = read_record(key, body)
    with reading(f"record {key}", remedy=_MEND):
        return tuple(_end(each) for each in told["ends"])


def unsent_record(events: tuple[OutcomeEvent, ...]) -> bytes:
    """Return the record of events that wait to be sent as `read_unsent` reads it."""
    return dump_record({"version": _VERSION, "events": dump_entries(events)})


def read_unsent(key: str, body: bytes) -> tuple[OutcomeEvent, ...]:
    """Return the events of a record, one at least.

    Raises:
        Reject: The record cannot be read; the reason names the key.
    """
    told = read_record(key, body)
    with reading(f"record {key}", remedy=_MEND):
        events = read_entries(told["events"])
        if not events:
            raise ValueError
        return events


def _end(told: Mapping[str, Any]) -> BuildEnd:
    return BuildEnd(
        of=StartedId(StartedKind(told["kind"]), str(told["name"]), str(told["number"])),
        attempt=int(told["attempt"]),
        status=BuildStatus(told["status"]),
        event_id=str(told["event_id"]),
        pushed_at=_time(told["pushed_at"]),
        commit=str(told["commit"]),
        old_commit=str(told["old_commit"]),
        began_at=_time(told["began_at"]),
        observed_at=_time(told["observed_at"]),
        ended_at=read_time(told["ended_at"]),
        link=str(told["link"]),
    )


def _time(value: object) -> datetime:
    time = read_time(value)
    if time is None:
        raise ValueError
    return time
