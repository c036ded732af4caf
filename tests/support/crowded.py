"""Many repositories through a cache with room for few, several pushes at once."""

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from support.mirrors import ACCOUNT, MAIN, REGION, read_archive, repository
from support.repositories import SourceRepository
from support.wait import wait_until

from asyncbuild.config import GitSettings
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.cache import MirrorCache, open_mirrors

_PAUSE_SECONDS = 0.005
_HOLD_MOST_SECONDS = 0.1


@dataclass
class Figures:
    """Figures of a run. `most_bytes` is the largest sum of all mirrors at any look at the disk."""

    repositories: int
    room: int
    at_once: int
    budget_bytes: int = 0
    mirror_bytes: int = 0  # the largest one
    most_bytes: int = 0
    most_mirrors: int = 0
    looks: int = 0
    pushes: int = 0
    fetches: int = 0
    evictions: int = 0
    evicted_in_use: int = 0
    failures: list[str] = field(default_factory=list)
    left_bytes: int = 0
    seconds: float = 0.0

    @property
    def overshoot_bytes(self) -> int:
        """Return by how many bytes the mirrors together exceeded the budget at worst."""
        return max(0, self.most_bytes - self.budget_bytes)

    @property
    def overshoot_mirrors(self) -> float:
        """Return the same excess in mirrors of the largest size."""
        return self.overshoot_bytes / self.mirror_bytes


class Crowd:
    """Repositories `r0`, `r1`, … with one commit each, of sizes that differ by a factor of three.

    Args:
        directory: Where they and the cache are.
        repositories: How many.
        room: How many of them, of middling size, the cache's budget holds.
        at_once: Pushes in work at the same time.
    """

    def __init__(self, directory: Path, *, repositories: int, room: int, at_once: int) -> None:
        self._directory = directory
        self._chance = random.Random(room)  # noqa: S311 - the same in every run
        self.figures = Figures(repositories, room, at_once)
        self._commits: list[str] = []
        self._expected: list[bytes] = []

    @property
    def _mirrors(self) -> Path:
        return self._directory / "cache" / "mirrors"

    def _settings(self, budget_bytes: int) -> GitSettings:
        return GitSettings(
            remote=f"{self._directory}/many/{{repository}}",
            cache_directory=self._directory / "cache",
            cache_budget_bytes=budget_bytes,
        )

    def prepare(self) -> None:
        """Make the repositories, and measure the size of their mirrors."""
        for number in range(self.figures.repositories):
            source = SourceRepository(self._directory / "many" / f"r{number}")
            content = self._chance.randbytes(self._chance.randrange(40_000, 120_000))
            self._commits.append(source.commit({"a": content}))
            self._expected.append(source.archive(self._commits[-1]))

    async def run(self, pushes: int) -> Figures:
        """Push to every repository once, then to random ones; return all figures."""
        figures = self.figures
        count = figures.repositories
        await self._measure()
        order = [*range(count), *(self._chance.randrange(count) for _ in range(pushes - count))]
        numbers = iter(order)
        settings = self._settings(figures.budget_bytes)
        begun = time.monotonic()
        async with open_mirrors(settings, Remotes(settings)) as mirrors:
            with self._watched():
                async with anyio.create_task_group() as tasks:
                    for _ in range(figures.at_once):
                        tasks.start_soon(self._serve, mirrors, numbers)
                figures.seconds = time.monotonic() - begun
                await wait_until(lambda: sum(self._sizes()) <= figures.budget_bytes)
            figures.left_bytes = sum(self._sizes())
            figures.evictions = mirrors.statistics().evictions
            figures.fetches = mirrors.statistics().fetches
        return figures

    async def _measure(self) -> None:
        """Set the budget from the mirrors of the first repositories."""
        some = range(min(self.figures.room, 20))
        settings = self._settings(10**12)
        async with open_mirrors(settings, Remotes(settings)) as mirrors:
            for number in some:
                await self._push(mirrors, number, hold_seconds=0)
            sizes = list(self._sizes())
            self.figures.budget_bytes = self.figures.room * sum(sizes) // len(sizes)
            await wait_until(lambda: mirrors.statistics().mirrors == len(some))
        async with open_mirrors(self._settings(1), Remotes(settings)):
            await wait_until(lambda: not list(self._sizes()))
        self.figures.pushes = 0

    async def _serve(self, mirrors: MirrorCache, numbers: Iterator[int]) -> None:
        for number in numbers:
            hold_seconds = self._chance.random() * _HOLD_MOST_SECONDS
            try:
                await self._push(mirrors, number, hold_seconds=hold_seconds)
            except Exception as error:  # noqa: BLE001 - every error is counted
                self.figures.failures.append(f"r{number}: {error!r}")

    async def _push(self, mirrors: MirrorCache, number: int, *, hold_seconds: float) -> None:
        """Read the archive while the mirror is held; the mirror must stay the same to the end."""
        where = self._mirrors / ACCOUNT / REGION / f"r{number}" / "repository.git"
        commit = self._commits[number]
        async with mirrors.open(repository(f"r{number}"), ref=MAIN, commit=commit) as snapshot:
            inode = _inode(where)
            await anyio.sleep(hold_seconds)
            archive = await read_archive(snapshot)
            self.figures.evicted_in_use += inode is None or _inode(where) != inode
        if archive != self._expected[number]:
            self.figures.failures.append(f"r{number}: another archive")
        self.figures.pushes += 1

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Look at the disk all the time, in another thread."""
        done = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(done,))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _watch(self, done: threading.Event) -> None:
        figures = self.figures
        while not done.wait(_PAUSE_SECONDS):
            before = {path: size for path, size in self._sizes_by_path() if size}
            after = dict(self._sizes_by_path())
            # A look takes time. Mirrors seen at its begin and at its end existed together.
            sizes = [size for path, size in before.items() if after.get(path)]
            figures.looks += 1
            figures.most_bytes = max(figures.most_bytes, sum(sizes))
            figures.most_mirrors = max(figures.most_mirrors, len(sizes))
            figures.mirror_bytes = max([figures.mirror_bytes, *sizes])

    def _sizes(self) -> Iterator[int]:
        return (size for _, size in self._sizes_by_path())

    def _sizes_by_path(self) -> Iterator[tuple[Path, int]]:
        """Yield the size of each mirror on the disk."""
        for path in self._mirrors.glob("*/*/*/repository.git"):
            size = 0
            for parent, _, names in os.walk(path):
                for name in names:
                    try:
                        size += os.lstat(f"{parent}/{name}").st_blocks * 512
                    except FileNotFoundError:
                        continue
            yield path, size


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
