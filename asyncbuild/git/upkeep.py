"""Housekeeping of the mirrors: packs, shallow boundaries, sizes, the disk budget."""

import os
from dataclasses import dataclass
from pathlib import Path

import aiofiles
import anyio
import orjson
import structlog
from anyio import to_thread

from asyncbuild.config import GitSettings
from asyncbuild.git.eviction import Occupant, plan_eviction
from asyncbuild.git.faults import GitFailed
from asyncbuild.git.locks import take_nowait
from asyncbuild.git.place import Place, delete, find_places
from asyncbuild.git.process import Command, Git, Work

_log = structlog.get_logger(__name__)
_PACKS_MOST = 32


@dataclass(frozen=True, slots=True)
class Kept:
    """What the cache holds."""

    mirrors: int = 0
    size_bytes: int = 0


class Upkeep:
    """Keeps mirrors quick and the cache within its budget.

    Args:
        settings: `[git]`.
        git: Runs git.
    """

    def __init__(self, settings: GitSettings, git: Git) -> None:
        self._settings = settings
        self._git = git
        self._evicting = anyio.Lock()
        self._evict_again = False
        self.kept = Kept()
        self.evictions = 0

    async def tidy(self, place: Place, lock: int) -> None:
        """After a fetch, with the fetch lock held: note the size, join packs when they are many.

        Failure is logged and left at that: the commit is there, and the next fetch tidies again.
        """
        if not await to_thread.run_sync(place.is_whole):
            return
        try:
            if await to_thread.run_sync(place.packs) > _PACKS_MOST:
                await self._repack(place, lock)
        except GitFailed as error:
            _log.warning("mirror.repack-failed", reason=error.reason)
        size_bytes = await to_thread.run_sync(place.size_bytes)
        # Shielded: a cancellation while the file is being opened in a thread would leave it open.
        with anyio.CancelScope(shield=True):
            async with aiofiles.open(place.stamp, "wb") as stamp:
                await stamp.write(orjson.dumps({"size_bytes": size_bytes}))

    async def _repack(self, place: Place, lock: int) -> None:
        """Join the small packs, geometrically: each object is copied a logarithmic number of times.

        Readers may go on: git looks again for an object whose pack has vanished.
        """
        for arguments in (("pack-refs", "--all"), ("repack", "-d", "-q", "--geometric=2")):
            await self._git.run(
                Command(
                    arguments,
                    f"repack {place.repository}",
                    git_directory=place.repository,
                    descriptors=(lock,),
                    quiet=True,
                    work=Work.FETCH,
                )
            )

    async def evict(self) -> None:
        """Bring the cache back into its budget. Calls while one runs are served by one more run."""
        if self._evicting.locked():
            self._evict_again = True
            return
        async with self._evicting:
            self._evict_again = True
            while self._evict_again:
                self._evict_again = False
                await self._evict_to(self._settings.cache_budget_bytes)

    async def make_room(self) -> None:
        """The disk is full: delete every mirror that nobody uses."""
        await self._evict_to(0)

    async def remove(self, place: Place) -> None:
        """Delete a mirror whose use lock is held exclusively."""
        gone = await to_thread.run_sync(place.take_away)
        if gone is not None:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(delete, gone)

    async def _evict_to(self, budget_bytes: int) -> None:
        mirrors = self._settings.cache_directory / "mirrors"
        occupants = await to_thread.run_sync(_survey, mirrors)
        freed = 0
        count = 0
        # A mirror turns out to be in use when it is tried: then the next one goes in its place.
        while going := plan_eviction(occupants, budget_bytes):
            busy = set()
            for each in going:
                if await to_thread.run_sync(_take_if_unused, Place(Path(each.path))):
                    freed += each.size_bytes
                    count += 1
                else:
                    busy.add(each.path)
            gone = {each.path for each in going} - busy
            occupants = [
                Occupant(each.path, each.size_bytes, each.used_at, each.busy or each.path in busy)
                for each in occupants
                if each.path not in gone
            ]
        self.evictions += count
        self.kept = Kept(len(occupants), sum(each.size_bytes for each in occupants))
        if count:
            _log.info("mirrors.evicted", mirrors=count, freed_bytes=freed)


def _survey(mirrors: Path) -> list[Occupant]:
    found = []
    for place in find_places(mirrors):
        try:
            used_at = place.stamp.stat().st_mtime
        except FileNotFoundError:
            continue  # another process evicted it just now
        if place.is_whole():
            found.append(Occupant(str(place.root), place.remembered_bytes(), used_at))
    return found


def _take_if_unused(place: Place) -> bool:
    """Delete the mirror unless it is in use, by this process or another."""
    using = os.open(place.use_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not take_nowait(using, shared=False):
            return False
        gone = place.take_away()
    finally:
        os.close(using)
    if gone is not None:
        delete(gone)
    return True
