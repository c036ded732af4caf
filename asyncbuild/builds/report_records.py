"""Bodies of the ledger's objects about posted commit statuses, as JSON. Pure."""

from datetime import datetime
from typing import Final

from asyncbuild.builds.ledger_records import dump_record, read_record
from asyncbuild.domain.errors import reading
from asyncbuild.domain.reports.commit_status import CommitStatus, StatusState
from asyncbuild.domain.reports.report import PostedStatus, Report, ReportOrder
from asyncbuild.domain.times import read_time

_VERSION: Final = 1


def posted_record(report: Report, *, posted_at: datetime) -> bytes:
    """Return the record of a posted status as `read_posted` reads it."""
    return dump_record(
        {
            "version": _VERSION,
            "repository": report.repository.segments._asdict(),
            "ref": report.ref,
            "commit": report.commit,
            "context": report.status.context,
            "state": report.status.state,
            "description": report.status.description,
            "target_url": report.status.target_url,
            "pushed_at": report.order.pushed_at,
            "event_id": report.order.event_id,
            "attempt": report.order.attempt,
            "posted_at": posted_at,
        }
    )


def read_posted(key: str, body: bytes) -> PostedStatus:
    """Return the state that was posted last, by its record.

    Raises:
        Reject: The record cannot be read; the reason names the key.
    """
    told = read_record(key, body)
    with reading(f"record {key}", remedy="delete the object"):
        pushed_at = read_time(told["pushed_at"])
        if pushed_at is None or not isinstance(told["event_id"], str):
            raise ValueError
        order = ReportOrder(pushed_at, told["event_id"], int(told["attempt"]))
        return PostedStatus(StatusState(told["state"]), order)


def read_shown(key: str, body: bytes) -> CommitStatus | None:
    """Return the whole status that was posted last; None for a record without its words.

    Raises:
        Reject: The record cannot be read; the reason names the key.
    """
    told = read_record(key, body)
    with reading(f"record {key}", remedy="delete the object"):
        if not isinstance(told.get("description"), str):
            return None
        words = (str(told["context"]), told["description"], str(told["target_url"]))
        return CommitStatus(StatusState(told["state"]), *words)
