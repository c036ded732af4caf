"""Commit statuses that were posted: for each repository, commit and context one object.

A report is compared with it before it is posted, and recorded after: a process that dies in between
posts the same state once more, which changes nothing.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.report_records import posted_record, read_posted, read_shown
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import StoredRecord
from asyncbuild.domain.reports.commit_status import CommitStatus
from asyncbuild.domain.reports.report import PostedStatus, Report


class PostedStore(Protocol):
    """Store of records; `storage.s3.Store` is one."""

    async def read_stored(self, key: str) -> StoredRecord | None:
        """Return a record with its ETag, or None if there is none."""

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write a record if it still has this ETag; return the new one, or None if not written."""


@dataclass(frozen=True, slots=True)
class KnownPost:
    """State that was posted last for a context, None if none was; and the ETag of its record.

    `shown` is that status with its words, None in a record that lacks them.
    """

    posted: PostedStatus | None = None
    etag: str = ""
    shown: CommitStatus | None = None


class ReportLedger:
    """Reads and writes what was posted, below one prefix."""

    def __init__(self, records: PostedStore, *, prefix: str) -> None:
        self._records = records
        self._keys = LedgerKeys(prefix)

    async def find_posted(self, report: Report) -> KnownPost:
        """Return what was posted last for a report's context; a damaged record counts as nothing.

        Raises:
            StageError: The store refused.
        """
        key = self._keys.reported(report.repository, report.group)
        stored = await self._records.read_stored(key)
        if stored is None:
            return KnownPost()
        try:
            posted, shown = read_posted(key, stored.body), read_shown(key, stored.body)
            return KnownPost(posted, stored.etag, shown)
        except Reject:
            return KnownPost(None, stored.etag)

    async def record_posted(self, report: Report, known: KnownPost, *, now: datetime) -> bool:
        """Record that a report was posted; return False if another task has recorded one meanwhile.

        Its message group keeps other reports of the context away. Only a task that has lost its
        message to another one can come too late: it must not replace the newer record.

        Args:
            report: The report.
            known: What was read before it was posted.
            now: The time.

        Raises:
            StageError: The store refused.
        """
        key = self._keys.reported(report.repository, report.group)
        body = posted_record(report, posted_at=now)
        return await self._records.replace_stored(key, body, etag=known.etag) is not None
