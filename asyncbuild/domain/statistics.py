"""Counts of work in flight: archives, mirrors, memory. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ZipStatistics:
    """Input and output of an archive so far; final when the stream has ended.

    `directory_bytes` is the length of the central directory with the records that end it, which
    are the archive's last bytes; `zip_bytes` counts from the archive's beginning. `commit` is the
    commit id that the tar stream contains.
    """

    entries: int
    tar_bytes: int
    zip_bytes: int
    directory_bytes: int
    commit: str | None


@dataclass(slots=True)
class MirrorStatistics:
    """Counts since the start; sizes from the last measurement of the disk."""

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
    """Bytes reserved and bytes held right now, and the number of accounts that wait for more."""

    total_bytes: int
    reserved_bytes: int
    held_bytes: int
    accounts: int
    waiting: int


@dataclass(frozen=True, slots=True)
class PipelineStatistics:
    """State of the stages: archives being made by event id, mirrors, memory."""

    archives: Mapping[str, ZipStatistics]
    mirrors: MirrorStatistics
    memory: BudgetStatistics
