"""Decisions when a seed is written, and which objects in the bucket are waste. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

LEAST_AGE: Final = timedelta(minutes=10)
"""A seed is not replaced earlier, unless it cannot be used."""

RENEWAL_AGE: Final = timedelta(days=14)
"""A seed of this age is written again, and so is a pack: a lifecycle rule deletes old objects."""

WASTE_AGE: Final = timedelta(hours=1)
"""An object that no manifest names is deleted after this time: its manifest may be on its way."""


@dataclass(frozen=True, slots=True)
class PackOnDisk:
    """A pack of a mirror: its size with its index in bytes, and when it came."""

    size_bytes: int
    came_at: datetime


@dataclass(frozen=True, slots=True)
class KnownSeed:
    """Knowledge of a task about a seed in the bucket.

    Attributes:
        etag: ETag of its manifest, quoted; empty: there is none.
        object_format: Its object format; empty if the manifest cannot be used.
        written_at: When it was written.
        size_bytes: Bytes of its files.
        since: From when on this task counts what it fetches: packs of a task that cloned for itself
            are others than those of the seed, so those that were there before count for nothing.
        newer: A newer version of the service wrote it.
    """

    etag: str = ""
    object_format: str = ""
    written_at: datetime | None = None
    size_bytes: int = 0
    since: datetime | None = None
    newer: bool = False


def is_due(
    packs: Collection[PackOnDisk],
    known: KnownSeed,
    *,
    object_format: str,
    share: float,
    now: datetime,
) -> bool:
    """Return whether a mirror is to be written as its repository's seed.

    Args:
        packs: Packs of the mirror.
        known: The seed in the bucket.
        object_format: Format of the mirror.
        share: Share of the seed that must have been fetched since.
        now: The time.
    """
    if known.newer:
        return False
    if known.written_at is None or known.since is None or known.object_format != object_format:
        return True
    age = now - known.written_at
    if age >= RENEWAL_AGE:
        return True
    grown_bytes = sum(each.size_bytes for each in packs if each.came_at > known.since)
    return grown_bytes > share * known.size_bytes and age >= LEAST_AGE


def find_waste(
    objects: Iterable[tuple[str, datetime]], named: Collection[str], now: datetime
) -> list[str]:
    """Return the keys of objects that no manifest names, and that are not new.

    Args:
        objects: Keys of packs and indexes in the bucket, and when they were written.
        named: Keys that the newest manifest and the one before name.
        now: The time.
    """
    return [key for key, at in objects if key not in named and now - at > WASTE_AGE]
