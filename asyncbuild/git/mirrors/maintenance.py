"""Maintenance of mirrors: packs, refs, shallow boundaries, sizes, the disk budget."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from asyncbuild.config.sections import MIB, GitSettings
from asyncbuild.domain.errors import Busy
from asyncbuild.domain.events.git_events import MirrorRepackFailed, MirrorsEvicted
from asyncbuild.domain.eviction import Occupant, plan_eviction
from asyncbuild.git.formats.error_classes import GitFailed
from asyncbuild.git.mirrors.directory import MirrorDirectory, Size, find_leavings, find_places
from asyncbuild.git.mirrors.disk_space import delete, measure
from asyncbuild.git.process.command import Command, Git, ProcessKind
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.locks import open_lock

_PACKS_MOST = 32
_REFS_MOST = 1_000
_WASTE_BYTES = 256 * MIB
_SURVEY_SECONDS = 60.0
_PATIENCE_SECONDS = 10.0  # the fetch's caller reads the mirror right after it
# Existing deltas are kept, new ones not searched: a mirror is a cache, and the cores have other
# work.
_REPACK = ("repack", "-d", "-q", "--window=0", "--threads=1")


class Upkeep:
    """Keeps mirrors fast and the cache within its budget.

    Args:
        settings: `[git]`.
        git: Runs git.
        leave: Ends what keeps files of a repository open, before they are deleted.
    """

    def __init__(
        self,
        settings: GitSettings,
        git: Git,
        *,
        leave: Callable[[Path], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._git = git
        self._leave = leave
        self._occupants: dict[str, Occupant] = {}
        self._noted: dict[str, Occupant] = {}  # since the running survey began
        self._surveyed_at = float("-inf")
        self._evicting = anyio.Lock()
        self._evict_again = False
        self.evictions = 0

    @property
    def mirrors(self) -> int:
        """Number of mirrors at the last survey."""
        return len(self._occupants)

    @property
    def size_bytes(self) -> int:
        """Bytes that they take on the disk."""
        return sum(each.size_bytes for each in self._occupants.values())

    async def tidy(self, place: MirrorDirectory, lock: int) -> None:
        """Join packs if there are many, and record the size; after a fetch, with its lock held.

        A failure is only logged: the commit is there, and the next fetch tidies again.
        """
        packs, size = await to_thread.run_sync(_look_over, place)
        if packs <= _PACKS_MOST:
            if size:
                self._note(place, size)
            return
        try:
            await self._join_packs(place, lock)
        except GitFailed as error:
            emit(MirrorRepackFailed(reason=error.reason))
        await self._note_size(place, compact=False)

    async def note_growth(self, place: MirrorDirectory) -> None:
        """Record the size after LFS objects were fetched, which no repack could shrink."""
        await self._note_size(place, compact=False, waste=False)

    async def settle(self, place: MirrorDirectory) -> None:
        """Remove waste and keep to the budget; some time after a fetch, with no lock held."""
        if await self._is_wasteful(place):
            await self._compact(place)
        await self.evict()

    async def evict(self) -> None:
        """Bring the cache back into its budget. Calls during a run share one further run."""
        self._evict_again = True
        if self._evicting.locked():
            return
        async with self._evicting:
            while self._evict_again:
                self._evict_again = False
                await self._survey(self._settings.cache_budget_bytes)
                await self._evict_to(self._settings.cache_budget_bytes)

    @asynccontextmanager
    async def open_way(self, place: MirrorDirectory, staging: Path) -> AsyncIterator[None]:
        """Make room for a new mirror, which is published while the block is open.

        One at a time, so that several first fetches at once do not exceed the budget together.
        Mirrors in use stay, and may exceed the budget.
        """
        size_bytes = await to_thread.run_sync(measure, staging)
        async with self._evicting:
            await self._make_way(size_bytes)
            size = Size(size_bytes, size_bytes)
            await to_thread.run_sync(place.remember, size)
            self._note(place, size)
            yield

    async def make_way(self, size_bytes: int) -> None:
        """Make room for `size_bytes` that a mirror will grow by."""
        async with self._evicting:
            await self._make_way(size_bytes)

    async def _make_way(self, size_bytes: int) -> None:
        budget_bytes = self._settings.cache_budget_bytes - size_bytes
        await self._survey(budget_bytes)
        await self._evict_to(budget_bytes)

    async def make_room(self) -> None:
        """Delete every unused mirror, because the disk is full."""
        async with self._evicting:
            self._surveyed_at = float("-inf")
            await self._survey(0)
            await self._evict_to(0)

    async def remove(self, place: MirrorDirectory) -> None:
        """Delete a mirror whose use lock is held exclusively."""
        self._occupants.pop(str(place.root), None)
        await self._leave(place.repository)
        gone = await to_thread.run_sync(place.take_away)
        if gone is not None:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(delete, gone)

    async def _join_packs(self, place: MirrorDirectory, lock: int) -> None:
        """Join small packs geometrically: each object is copied a logarithmic number of times.

        Nothing is lost, so readers may continue: git looks again for an object whose pack is gone.
        """
        await self._forget_old_refs(place, lock)
        await self._run(place, ("pack-refs", "--all"), lock)
        await self._run(place, (*_REPACK, "--geometric=2"), lock)
        await self._leave(place.repository)  # it keeps the old packs open, and their space
        await self._forget_old_boundaries(place, lock)

    async def _forget_old_refs(self, place: MirrorDirectory, lock: int) -> None:
        """Delete refs of branches long gone, which make each fetch slower."""
        order = ("for-each-ref", "--sort=-committerdate", "--format=delete %(refname)")
        lines = (await self._run(place, order, lock)).splitlines(keepends=True)
        if len(lines) > _REFS_MOST:
            deletions = b"".join(lines[_REFS_MOST:])
            await self._run(place, ("update-ref", "--stdin"), lock, stdin=deletions)

    async def _forget_old_boundaries(self, place: MirrorDirectory, lock: int) -> None:
        """Remove lines of `shallow` whose commits no ref leads to any more.

        Each fetch at a depth adds a line, and each fetch sends the whole file. `git prune` removes
        such lines, too, but walks all trees for that; walking the commits is enough.
        """
        if await to_thread.run_sync(place.is_shallow):
            reachable = await self._run(place, ("rev-list", "--all"), lock)
            await to_thread.run_sync(place.trim_shallow, frozenset(reachable.split()))

    async def _is_wasteful(self, place: MirrorDirectory) -> bool:
        size = await to_thread.run_sync(place.remembered)
        return size.bytes > 2 * size.compact_bytes + _WASTE_BYTES

    async def _compact(self, place: MirrorDirectory) -> None:
        """Drop objects that no ref leads to; only if nothing else uses the mirror."""
        doing = f"compact {place.repository}"
        try:
            async with AsyncExitStack() as stack:
                # Wait for the readers' lock only: no caller waits while we hold it.
                await stack.enter_async_context(
                    open_lock(
                        place.use_lock,
                        shared=False,
                        wait_seconds=_PATIENCE_SECONDS,
                        doing=doing,
                    )
                )
                lock = await stack.enter_async_context(
                    open_lock(place.fetch_lock, shared=False, wait_seconds=0, doing=doing)
                )
                if not await self._is_wasteful(place):
                    return  # another waiter for the readers' lock did it
                await self._forget_old_refs(place, lock)
                await self._run(place, (*_REPACK, "-a"), lock)
                await self._leave(place.repository)
                await self._forget_old_boundaries(place, lock)
                await self._note_size(place, compact=True)
        except Busy:
            return  # in use: a later fetch comes back here
        except GitFailed as error:
            emit(MirrorRepackFailed(reason=error.reason))

    async def _run(
        self, place: MirrorDirectory, arguments: tuple[str, ...], lock: int, stdin: bytes = b""
    ) -> bytes:
        command = Command(
            arguments,
            f"{arguments[0]} in {place.repository}",
            git_directory=place.repository,
            stdin=stdin,
            descriptors=(lock,),
            work=ProcessKind.UPKEEP,
        )
        return await self._git.run(command)

    async def _note_size(
        self, place: MirrorDirectory, *, compact: bool, waste: bool = True
    ) -> None:
        measured = partial(place.measure, compact=compact, waste=waste)
        if size := await to_thread.run_sync(measured):
            self._note(place, size)

    def _note(self, place: MirrorDirectory, size: Size) -> None:
        path = str(place.root)
        self._occupants[path] = self._noted[path] = Occupant(path, size.bytes, time.time())

    async def _survey(self, budget_bytes: int) -> None:
        """Survey the whole cache for changes by other processes, but not after each fetch."""
        if anyio.current_time() < self._surveyed_at + _SURVEY_SECONDS:
            if self.size_bytes <= budget_bytes:
                return
        else:
            await to_thread.run_sync(self._reclaim)
        self._noted.clear()
        found = await to_thread.run_sync(_occupants_of, self._mirrors)
        self._occupants = {each.path: each for each in found} | self._noted
        self._surveyed_at = anyio.current_time()

    def _reclaim(self) -> None:
        for place in find_leavings(self._mirrors):
            place.reclaim_if_free()

    @property
    def _mirrors(self) -> Path:
        return self._settings.cache_directory / "mirrors"

    async def _evict_to(self, budget_bytes: int) -> None:
        """Delete mirrors until the budget holds; if one is in use, others go instead."""
        freed = count = 0
        while going := plan_eviction(self._occupants.values(), budget_bytes):
            for each in going:
                await self._leave(MirrorDirectory(Path(each.path)).repository)
                if await to_thread.run_sync(MirrorDirectory(Path(each.path)).delete_if_unused):
                    freed += each.size_bytes
                    count += 1
                    self._occupants.pop(each.path, None)
                else:
                    self._occupants[each.path] = replace(each, busy=True)
        self._occupants = {
            path: replace(each, busy=False) for path, each in self._occupants.items()
        }
        self.evictions += count
        if count:
            emit(MirrorsEvicted(mirrors=count, freed_bytes=freed))


def _look_over(place: MirrorDirectory) -> tuple[int, Size | None]:
    return place.packs(), place.measure(compact=False)


def _occupants_of(mirrors: Path) -> Iterable[Occupant]:
    return [
        Occupant(str(place.root), place.remembered().bytes, used_at)
        for place, used_at in find_places(mirrors)
    ]
