"""Records in memory, with the interface that `builds.ledger` uses."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

from asyncbuild.domain.errors import Outage
from asyncbuild.domain.model import StoredRecord


def etag_of(body: bytes) -> str:
    """Return the ETag of an object as S3 has it without KMS."""
    return f'"{md5(body, usedforsecurity=False).hexdigest()}"'


@dataclass(frozen=True)
class Key:
    """An entry of a listing."""

    key: str
    last_modified: int


@dataclass
class Records:
    """Records in memory; their times are the numbers of writes."""

    kept: dict[str, bytes] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    away: bool = False

    async def put_record(self, key: str, body: bytes) -> bool:
        """Write once."""
        return self.kept.setdefault(key, body) is body

    async def replace_record(self, key: str, body: bytes) -> None:
        """Write."""
        self.kept[key] = body

    async def get_record(self, key: str) -> bytes | None:
        """Read."""
        return self.kept.get(key)

    async def read_stored(self, key: str) -> StoredRecord | None:
        """Read with its ETag, which follows from the body as S3's does."""
        body = self.kept.get(key)
        return None if body is None else StoredRecord(body, etag_of(body))

    async def replace_stored(self, key: str, body: bytes, *, etag: str) -> str | None:
        """Write if the ETag is still that one."""
        found = self.kept.get(key)
        if (etag_of(found) if found is not None else "") != etag:
            return None
        self.kept[key] = body
        self.times[key] = max(self.times.values(), default=0) + 1
        return etag_of(body)

    async def delete_record(self, key: str) -> None:
        """Remove, or fail."""
        if self.away:
            raise Outage(f"delete {key}")
        self.kept.pop(key, None)

    async def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """List."""
        for key in sorted(self.kept):
            if key.startswith(prefix) and key > after:
                yield Key(key, self.times.get(key, 0))

    async def list_folders(self, prefix: str) -> list[str]:
        """Return no folders; tests that use this class need none."""
        raise NotImplementedError(prefix)
