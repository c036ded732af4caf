"""Fetch into a mirror under its lock, repeated after eviction if the disk is full."""

from collections.abc import Sequence

import anyio

from asyncbuild.config.sections import DISK_FREE_LEAST_BYTES, MIB, GitSettings
from asyncbuild.domain.errors import Busy
from asyncbuild.domain.events.git_events import FetchFinished
from asyncbuild.forges.git_remote import Remote
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.directory import MirrorDirectory
from asyncbuild.git.mirrors.fetch import Fetcher
from asyncbuild.git.mirrors.maintenance import Upkeep
from asyncbuild.git.mirrors.mirror_locks import open_for_change, open_for_use
from asyncbuild.git.mirrors.shared_fetch import CommitRequest
from asyncbuild.runtime.emit import emit


class LockedFetch:
    """Fetches into mirrors that other processes may fetch into, too.

    Attributes:
        fetches: Number of fetches begun.

    Args:
        settings: `[git]`.
        fetcher: Fetches commits.
        upkeep: Makes room, and tidies after fetches.
    """

    def __init__(self, settings: GitSettings, fetcher: Fetcher, upkeep: Upkeep) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._upkeep = upkeep
        self.fetches = 0

    async def fetch(
        self, place: MirrorDirectory, remote: Remote, wishes: Sequence[CommitRequest], name: str
    ) -> None:
        """Fetch once for all these requests; no other process fetches into this mirror meanwhile.

        Args:
            place: The mirror.
            remote: Its remote.
            wishes: Refs and commits that callers wait for.
            name: Name of the repository, for people.

        Raises:
            StageError: The fetch failed.
        """
        started = anyio.current_time()
        self.fetches += 1
        wait_seconds = self._settings.timeout_seconds
        async with (
            open_for_use(place, name),
            open_for_change(place, f"fetch {name}", wait_seconds=wait_seconds) as lock,
        ):
            try:
                await self._fetcher.fetch(place, remote, wishes, lock)
            except GitFailed as error:
                if error.fault is not GitFault.DISK_FULL:
                    raise
                await self._fetch_on_full_disk(place, remote, wishes, lock)
            seconds = round(anyio.current_time() - started, 4)
            emit(FetchFinished(mirror=name, pushes=len(wishes), duration_seconds=seconds))
            await self._upkeep.tidy(place, lock)

    async def _fetch_on_full_disk(
        self, place: MirrorDirectory, remote: Remote, wishes: Sequence[CommitRequest], lock: int
    ) -> None:
        await self._upkeep.make_room()
        try:
            await self._fetcher.fetch(place, remote, wishes, lock)
        except GitFailed as error:
            if error.fault is not GitFault.DISK_FULL:
                raise
            raise Busy(
                f"the disk of {self._settings.cache_directory} is full, though every unused "
                f"mirror was deleted: {error.reason}",
                remedy=f"give it more space, or lower git.cache_budget_bytes: "
                f"{DISK_FREE_LEAST_BYTES // MIB} MiB must be free, and room for the fetch",
            ) from error
