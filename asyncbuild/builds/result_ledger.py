"""Index of started builds, and the results of those builds, in the bucket beside the ledger.

A start writes an entry of the index and a mark that the build is unfinished, before the record of
its push: a process that dies in between leaves a push without a record, whose message is delivered
again, finds the same build, and writes both again.
"""

from datetime import UTC, datetime
from typing import Protocol

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.result_records import read_started, started_by, started_record
from asyncbuild.domain.model import Outcome, Push
from asyncbuild.domain.results.build_result import StartedId
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.runtime.tasks import open_tasks


class ResultStore(Protocol):
    """Store of records; `storage.s3.Store` is one."""

    async def replace_record(self, key: str, body: bytes) -> None:
        """Write a record, replacing what was there."""

    async def get_record(self, key: str) -> bytes | None:
        """Return the body of a record, or None if there is none."""


class ResultLedger:
    """Reads and writes what was started, and how it ended, below one prefix."""

    def __init__(self, records: ResultStore, *, prefix: str) -> None:
        self._records = records
        self._keys = LedgerKeys(prefix)

    async def record_start(self, push: Push, outcome: Outcome) -> None:
        """Write the index entry of what a push has started, and that it is unfinished.

        A repetition is harmless: it writes the same entry, and the next round removes the mark of a
        build whose end is recorded.

        Args:
            push: The push.
            outcome: What was done for one target; one that started nothing writes nothing.

        Raises:
            StageError: The store refused.
        """
        started = started_by(push, outcome, keys=self._keys, started_at=datetime.now(UTC))
        if started is None:
            return
        entry, mark = self._keys.started(started.of), self._keys.unfinished(started.of)
        async with open_tasks() as tasks:
            tasks.start_soon(self._records.replace_record, mark, b"")
            await self._records.replace_record(entry, started_record(started))

    async def find_started(self, of: StartedId) -> StartedBuild | None:
        """Return the entry of the index for a build; None if this service did not start it.

        Raises:
            Reject: The entry cannot be read.
            StageError: The store refused.
        """
        key = self._keys.started(of)
        body = await self._records.get_record(key)
        return None if body is None else read_started(key, body, keys=self._keys)
