"""Records in memory, with the interface that `builds.ledger` uses."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from asyncbuild.domain.errors import Outage


@dataclass(frozen=True)
class Key:
    """An entry of a listing."""

    key: str


@dataclass
class Records:
    """Records in memory."""

    kept: dict[str, bytes] = field(default_factory=dict)
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

    async def delete_record(self, key: str) -> None:
        """Remove, or fail."""
        if self.away:
            raise Outage(f"delete {key}")
        self.kept.pop(key, None)

    async def iter_records(self, prefix: str, *, after: str = "") -> AsyncIterator[Any]:
        """List."""
        for key in sorted(self.kept):
            if key.startswith(prefix) and key > after:
                yield Key(key)

    async def list_folders(self, prefix: str) -> list[str]:
        """Return no folders; tests that use this class need none."""
        raise NotImplementedError(prefix)
