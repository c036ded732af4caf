"""Records of the newest archive of each ref, in the bucket, shared by all tasks.

    base/ACCOUNT/REGION/REPOSITORY/REF.json     the newest archive of a ref

A record is a hint and never trusted: everything in it is checked against the archive's ETag, its
directory and the trees. So writers need no order among each other.
"""

import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

from asyncbuild.archive.delta.planning.base import Base, pack_base, parse_base
from asyncbuild.domain.repository import Repository
from asyncbuild.runtime.tasks import for_each

_OTHERS: Final = 4  # other refs whose archives are considered when a ref has none yet


class BaseRecordStore(Protocol):
    """Store of the records; `storage.s3.Store` is one."""

    async def replace_record(self, key: str, body: bytes) -> Any:  # noqa: ANN401 - not looked at
        """Write a record, replacing what was there."""

    async def get_record(self, key: str) -> bytes | None:
        """Return the body of a record, or None if there is none."""

    def iter_records(self, prefix: str) -> AsyncIterator[Any]:
        """Yield the records below `prefix`, each with a `key` and `last_modified`."""


class Bases:
    """Reads and writes the records below one prefix."""

    def __init__(self, records: BaseRecordStore, *, prefix: str) -> None:
        self._records = records
        self._prefix = prefix

    async def find(self, repository: Repository, ref: str) -> Base | None:
        """Return the newest archive of this ref."""
        return await self._get(self._key(repository, ref))

    async def find_others(self, repository: Repository) -> list[Base]:
        """Return the newest archives of other refs, newest first."""
        prefix = f"{self._prefix}base/{repository.path}/"
        found = [
            (each.last_modified, each.key) async for each in self._records.iter_records(prefix)
        ]
        newest = sorted(found, reverse=True)[:_OTHERS]
        bases = await for_each(self._get, [key for _, key in newest])
        return [base for base in bases if base is not None]

    async def set(self, repository: Repository, ref: str, base: Base) -> None:
        """Record that `base` is the newest archive of this ref.

        Args:
            repository: The repository.
            ref: The ref.
            base: The archive.
        """
        await self._records.replace_record(self._key(repository, ref), pack_base(base))

    async def _get(self, key: str) -> Base | None:
        body = await self._records.get_record(key)
        return None if body is None else parse_base(body)

    def _key(self, repository: Repository, ref: str) -> str:
        name = hashlib.sha256(ref.encode()).hexdigest()
        return f"{self._prefix}base/{repository.path}/{name}.json"
