"""Counts of what is on its way: archives, mirrors, memory. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ZipStatistics:
    """What went in and came out so far; final when the stream has ended.

    `directory_bytes` is the length of the central directory with the records that end it, which
    are the archive's last bytes; `zip_bytes` counts from the archive's beginning. `commit` is what
    the tar stream says it was made of.
    """

    entries: int
    tar_bytes: int
    zip_bytes: int
    directory_bytes: int
    commit: str | None


@dataclass(slots=True)
class MirrorStatistics:
    """Counts since the start; sizes of the last look at the disk."""

    present: int = 0
    fetched: int = 0
    fetches: int = 0
    evictions: int = 0
    renewals: int = 0
    mirrors: int = 0
    size_bytes: int = 0
    processes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BudgetStatistics:
    """Bytes promised and bytes in use right now, and how many wait for more."""

    total_bytes: int
    reserved_bytes: int
    held_bytes: int
    accounts: int
    waiting: int


@dataclass(frozen=True, slots=True)
class PipelineStatistics:
    """What the stages are doing: archives on their way by event id, mirrors, memory."""

    archives: Mapping[str, ZipStatistics]
    mirrors: MirrorStatistics
    memory: BudgetStatistics
