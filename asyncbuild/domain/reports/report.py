"""Report: a message that asks for a commit status to be brought up to date."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from asyncbuild.domain.errors import reading
from asyncbuild.domain.events.event import PushIdentity
from asyncbuild.domain.foreign_text import to_json
from asyncbuild.domain.git_names import check_commit
from asyncbuild.domain.refs import check_pushed_ref
from asyncbuild.domain.reports.commit_status import CommitStatus, StatusState
from asyncbuild.domain.repository import Repository, decode_repository
from asyncbuild.domain.times import read_time

KIND: Final = "report"
VERSION: Final = 1
SKIPPED: Final = 0  # attempt of a report that no build was started
SENT_AGAIN: Final = "SentAgain"  # message attribute of a report that a person sent again


class ReportOrder(NamedTuple):
    """Position of a report among those of its context: the greater one replaces the others.

    A commit may be built more than once under one context: as the tip of two branches, again by
    hand, and by CodeBuild's own retries. The push that came last owns the context, and of its
    attempts the last. The time is that of the push, because it is the same at each try.

    Attributes:
        pushed_at: When the commit was pushed.
        event_id: Id of the push, which decides between pushes of the same time.
        attempt: Number of the attempt, from 1; `SKIPPED` of a push that started none.
    """

    pushed_at: datetime
    event_id: str
    attempt: int = 1

    @property
    def is_skip(self) -> bool:
        """True if no build was started."""
        return self.attempt == SKIPPED


@dataclass(frozen=True, slots=True)
class Report:
    """Commit status of one build that is to be posted, unless a later one was posted before.

    Attributes:
        repository: Repository of the commit.
        ref: Full name of the ref that was pushed.
        commit: The commit, never an annotated tag's object.
        status: The status.
        order: Position among the reports of the same context.
    """

    repository: Repository
    ref: str
    commit: str
    status: CommitStatus
    order: ReportOrder

    @property
    def group(self) -> str:
        """Message group: equal for all reports about one repository, commit and context."""
        return _digest(self.repository.path, self.commit, self.status.context)

    @property
    def identity(self) -> PushIdentity:
        """Identity of the push in the log."""
        return PushIdentity.of_parts(self.order.event_id, self.repository, self.ref, self.commit)

    @property
    def deduplication_id(self) -> str:
        """Deduplication id of the message: equal for the same state of the same attempt."""
        pushed_at, event_id, attempt = self.order
        parts = (pushed_at.isoformat(), event_id, str(attempt), self.status.state)
        return _digest(self.group, *parts)


@dataclass(frozen=True, slots=True)
class PostedStatus:
    """State that was posted last for a context."""

    state: StatusState
    order: ReportOrder


def is_due(report: Report, posted: PostedStatus | None) -> bool:
    """Return whether a report is to be posted, given what was posted last for its context.

    The latest push owns a context, so an older build changes nothing any more. Of one attempt an
    end is never replaced, and no state is posted twice.

    A skip tells nothing about the commit, so a build of any push replaces it, and it replaces none:
    a commit that failed on one branch stays red when it comes to another one unchanged.
    """
    if posted is None:
        return True
    if report.order.is_skip or posted.order.is_skip:
        return not report.order.is_skip
    if report.order > posted.order:
        return True
    if report.order < posted.order:
        return False
    return report.status.state is not posted.state and not posted.state.is_end


def dump_report(report: Report) -> bytes:
    """Return the body of a report's message, as `read_report` reads it."""
    status, order = report.status, report.order
    return to_json(
        {
            "asyncbuild": KIND,
            "version": VERSION,
            "repository": report.repository.segments._asdict(),
            "ref": report.ref,
            "commit": report.commit,
            "state": status.state,
            "context": status.context,
            "description": status.description,
            "target_url": status.target_url,
            "pushed_at": order.pushed_at,
            "event_id": order.event_id,
            "attempt": order.attempt,
        },
        utc_z=True,
    )


def read_report(document: Mapping[str, Any]) -> Report:
    """Return the report in a message's JSON object.

    Fields that are not known are passed over: a later version may send them.

    Raises:
        Reject: The document is not a report of a version that can be read.
    """
    with reading("report"):
        if document["asyncbuild"] != KIND or document["version"] != VERSION:
            raise ValueError
        pushed_at = read_time(document["pushed_at"])
        if pushed_at is None:
            raise ValueError
        segments = {name: _text(document["repository"][name]) for name in _SEGMENTS}
        attempt = document["attempt"]
        if not isinstance(attempt, int) or isinstance(attempt, bool) or attempt < SKIPPED:
            raise ValueError
        return Report(
            repository=decode_repository(**segments),
            ref=check_pushed_ref(document["ref"]),
            commit=check_commit(_text(document["commit"])),
            status=CommitStatus(
                state=StatusState(document["state"]),
                context=_text(document["context"]),
                description=_text(document["description"]),
                target_url=_text(document["target_url"]),
            ),
            order=ReportOrder(pushed_at, _text(document["event_id"]), attempt),
        )


_SEGMENTS: Final = ("account", "region", "name")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
