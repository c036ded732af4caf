"""Mirrors on the disks of tasks, and seeds of them: what a push waits for before its preparation.

A task has room for so many bytes of mirrors; the least recently used go first. A push whose
repository has no mirror on the task is cold: it takes the seed, if one is written, or clones. The
task that cloned writes the seed afterwards, one at a time.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class MirrorModel:
    """Sizes and rates; rates are in bytes a second.

    Attributes:
        nbytes: Size of the mirror of a repository, by its number.
        disk_bytes: Room for mirrors on the disk of a task.
        clone_rate: How fast a mirror is cloned.
        seed_rate: How fast a seed is taken.
        write_rate: How fast a seed is written; 0: there are none.
        seed_min_bytes: Smaller mirrors have no seed.
        least_seconds: What a first fetch of nothing takes.
    """

    nbytes: Callable[[int], int]
    disk_bytes: int = 15 * 2**30
    clone_rate: float = 30.0 * MB
    seed_rate: float = 90.0 * MB
    write_rate: float = 0.0
    seed_min_bytes: int = 8 * 2**20
    least_seconds: float = 0.5


@dataclass(slots=True)
class MirrorCounts:
    """Counts of a run."""

    warm: int = 0
    clones: int = 0
    cloned_bytes: int = 0
    taken: int = 0
    evictions: int = 0

    @property
    def cold_share(self) -> float:
        """Return the share of pushes that met no mirror, of all pushes."""
        cold = self.clones + self.taken
        return cold / max(cold + self.warm, 1)


@dataclass(slots=True)
class TaskDisk:
    """Mirrors of one task: when each is ready, the least recently used first."""

    ready_at: OrderedDict[int, float] = field(default_factory=OrderedDict)
    used_bytes: int = 0
    writes_until: float = 0.0


class Mirrors:
    """Mirrors of all tasks, and the seeds that they share.

    Args:
        model: Sizes and rates.
    """

    def __init__(self, model: MirrorModel) -> None:
        self._model = model
        self._seeded_at: dict[int, float] = {}
        self.counts = MirrorCounts()

    def wait(self, disk: TaskDisk, repository: int, now: float) -> float:
        """Return the seconds until the mirror is there, which is made if need be."""
        ready_at = disk.ready_at.get(repository)
        if ready_at is not None:
            disk.ready_at.move_to_end(repository)
            self.counts.warm += 1
            return max(0.0, ready_at - now)
        nbytes = self._model.nbytes(repository)
        seeded = self._seeded_at.get(repository, float("inf")) <= now
        rate = self._model.seed_rate if seeded else self._model.clone_rate
        seconds = self._model.least_seconds + nbytes / rate
        if seeded:
            self.counts.taken += 1
        else:
            self.counts.clones += 1
            self.counts.cloned_bytes += nbytes
            self._write_seed(disk, repository, now + seconds)
        self._keep(disk, repository, now + seconds)
        return seconds

    def _write_seed(self, disk: TaskDisk, repository: int, now: float) -> None:
        model, nbytes = self._model, self._model.nbytes(repository)
        if not model.write_rate or nbytes < model.seed_min_bytes:
            return
        disk.writes_until = max(disk.writes_until, now) + nbytes / model.write_rate
        before = self._seeded_at.get(repository, float("inf"))
        self._seeded_at[repository] = min(before, disk.writes_until)

    def _keep(self, disk: TaskDisk, repository: int, ready_at: float) -> None:
        disk.ready_at[repository] = ready_at
        disk.used_bytes += self._model.nbytes(repository)
        while disk.used_bytes > self._model.disk_bytes and len(disk.ready_at) > 1:
            gone, _ = disk.ready_at.popitem(last=False)
            disk.used_bytes -= self._model.nbytes(gone)
            self.counts.evictions += 1
