"""Objects of the ledger that rounds read and write: snapshots, heads, records, the newest round."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from asyncbuild.builds.ledger import Ledger, RecordStore
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.ledger_records import Head, dump_record, read_head, read_record
from asyncbuild.builds.recorded_movements import read_movements
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.git_names import check_repository
from asyncbuild.domain.model import StoredRecord
from asyncbuild.domain.movements import Movement
from asyncbuild.domain.repository import Repository, decode_repository
from asyncbuild.domain.times import read_time
from asyncbuild.runtime.tasks import for_each


class SnapshotStore(RecordStore, Protocol):
    """Store of records and snapshots; `storage.s3.Store` is one."""

    async def read_stored(self, key: str) -> StoredRecord | None:
        """Return a record with its ETag, or None if there is none."""

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write a record if it still has this ETag; return the new one, or None if not written."""

    def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """Yield the records below `prefix` behind `after`, in order of keys, each with a `key`."""


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """Newest round that was begun: its scheduled time, when, and over how many repositories."""

    time: datetime
    begun_at: datetime
    repositories: int


class ReconcileLedger:
    """Reads and writes what rounds need, below one prefix."""

    def __init__(self, records: SnapshotStore, *, prefix: str) -> None:
        self._records = records
        self._keys = LedgerKeys(prefix)
        self._ledger = Ledger(records, prefix=prefix)

    def snapshot_key(self, repository: Repository) -> str:
        """Return the key of a repository's snapshot."""
        return self._keys.snapshot(repository)

    async def read_snapshot(self, repository: Repository) -> StoredRecord | None:
        """Return a repository's snapshot with its ETag; None before its first round.

        Raises:
            StageError: The store refused.
        """
        return await self._records.read_stored(self._keys.snapshot(repository))

    async def write_snapshot(self, repository: Repository, body: bytes, *, etag: str) -> bool:
        """Write a snapshot; return False, and write nothing, if another task wrote meanwhile.

        Args:
            repository: The repository.
            body: The snapshot.
            etag: ETag of the one that was read; empty if there was none.

        Raises:
            StageError: The store refused.
        """
        key = self._keys.snapshot(repository)
        return await self._records.replace_stored(key, body, etag=etag) is not None

    async def delete_snapshot(self, repository: Repository) -> None:
        """Forget the refs of a repository that no rule wants any more.

        Raises:
            StageError: The store refused.
        """
        await self._records.delete_record(self._keys.snapshot(repository))

    async def read_heads(
        self, repository: Repository, refs: Collection[str]
    ) -> dict[str, tuple[str, datetime]]:
        """Return commit and time of the newest push built of each ref; those without one not.

        Args:
            repository: The repository.
            refs: Full names of refs.

        Raises:
            StageError: The store refused.
        """

        async def read(ref: str) -> Head | None:
            key = self._keys.head_of(repository, ref)
            body = await self._records.get_record(key)
            with suppress(Reject):
                return None if body is None else read_head(key, body)
            return None

        found = await for_each(read, tuple(refs)) if refs else []
        pairs = zip(refs, found, strict=True)
        return {ref: (head.commit, head.time) for ref, head in pairs if head is not None}

    async def read_movements(
        self, repository: Repository, *, since: datetime
    ) -> Mapping[str, list[Movement]]:
        """Return the movements of refs that records since a time tell of, by ref.

        Args:
            repository: The repository.
            since: A time by this service's clock.

        Raises:
            StageError: The store refused.
        """
        return await read_movements(self._ledger, repository, since=since)

    async def find_group(self, repository: Repository) -> str:
        """Return the message group in which pushes of a repository came; empty if not known.

        Raises:
            StageError: The store refused.
        """
        return await self._ledger.find_group(repository)

    async def find_known(self) -> dict[Repository, bool]:
        """Return the repositories that have a head or a snapshot; True for those with a snapshot.

        Raises:
            StageError: The store refused.
        """
        known = dict.fromkeys(await self._find_below(self._keys.heads), False)
        async for each in self._records.iter_records(self._keys.snapshots):
            path = each.key.removeprefix(self._keys.snapshots).removesuffix(".json")
            repository = _repository(*path.split("/"))
            if repository is not None:
                known[repository] = True
        return known

    async def _find_below(self, prefix: str) -> list[Repository]:
        found: list[Repository | None] = []
        for account in await self._records.list_folders(prefix):
            for region in await self._records.list_folders(f"{prefix}{account}/"):
                names = await self._records.list_folders(f"{prefix}{account}/{region}/")
                found += [_repository(account, region, name) for name in names]
        return [each for each in found if each is not None]

    async def record_round(self, record: RoundRecord) -> None:
        """Record that a round was begun.

        Raises:
            StageError: The store refused.
        """
        body = dump_record(
            {
                "version": 1,
                "time": record.time,
                "begun_at": record.begun_at,
                "repositories": record.repositories,
            }
        )
        await self._records.replace_record(self._keys.newest_round, body)

    async def read_round(self) -> RoundRecord | None:
        """Return the newest round that was begun; None if there was none, or it cannot be read.

        Raises:
            StageError: The store refused.
        """
        body = await self._records.get_record(self._keys.newest_round)
        if body is None:
            return None
        try:
            document = read_record(self._keys.newest_round, body)
        except Reject:
            return None
        time, begun_at = read_time(document.get("time")), read_time(document.get("begun_at"))
        count = document.get("repositories")
        if time is None or begun_at is None or not isinstance(count, int):
            return None
        return RoundRecord(time, begun_at, count)


def _repository(*segments: str) -> Repository | None:
    """Return the repository of three segments; None if they are not those of one."""
    if len(segments) != 3:  # noqa: PLR2004 - account, region, name
        return None
    account, region, name = segments
    try:
        return check_repository(decode_repository(account, region, name))
    except (Reject, ValueError):
        return None
