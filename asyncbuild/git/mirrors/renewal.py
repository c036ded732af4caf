"""Renewal of mirrors: a suspected one is examined, and deleted if it is damaged."""

from collections import Counter
from pathlib import Path

from anyio import to_thread

from asyncbuild.config.sections import GitSettings
from asyncbuild.domain.events.git_events import MirrorRenewed
from asyncbuild.git.mirrors.directory import MirrorDirectory, MirrorState
from asyncbuild.git.mirrors.integrity import find_damage
from asyncbuild.git.mirrors.maintenance import Upkeep
from asyncbuild.git.mirrors.mirror_locks import (
    open_for_change,
    open_for_deletion,
    open_for_use,
)
from asyncbuild.git.mirrors.seed_source import SeedSource
from asyncbuild.git.process.command import Git
from asyncbuild.runtime.emit import emit


class MirrorRenewal:
    """Deletes damaged mirrors of one cache, so that the next fetch makes new ones.

    Args:
        settings: `[git]`.
        git: Runs git.
        upkeep: Deletes mirrors.
        seeds: Seeds of mirrors, which may be the cause; None without any.
    """

    def __init__(
        self, settings: GitSettings, git: Git, upkeep: Upkeep, seeds: SeedSource | None = None
    ) -> None:
        self._settings = settings
        self._git = git
        self._upkeep = upkeep
        self._seeds = seeds
        self._times: Counter[Path] = Counter()
        self._whole: dict[Path, MirrorState] = {}  # states of mirrors that were suspected wrongly

    @property
    def renewals(self) -> int:
        """Return how many mirrors were deleted since the start."""
        return self._times.total()

    def times(self, place: MirrorDirectory) -> int:
        """Return how often this mirror was deleted since the start."""
        return self._times[place.root]

    async def renew(self, place: MirrorDirectory) -> None:
        """Examine a suspected mirror; delete it if it is damaged, so that the next fetch makes one.

        A mirror that was found whole is not examined again before its packs change: a server, or a
        name that a pusher chose, may repeat the words that raise the suspicion.
        """
        doing = f"look for damage in {place.repository}"
        wait_seconds = self._settings.timeout_seconds
        async with (
            open_for_use(place, doing),
            open_for_change(place, doing, wait_seconds=wait_seconds) as lock,
        ):
            damage = await self._judge(place, lock)
        if damage:
            await self._remove(place, damage)

    async def _judge(self, place: MirrorDirectory, lock: int) -> str:
        """Return the damage of a suspected mirror; if there is none, end the suspicion."""
        if not await to_thread.run_sync(place.is_suspect):
            return ""  # another task examined it meanwhile
        sight = await to_thread.run_sync(place.look)
        if sight is None or self._whole.get(place.root) != sight:
            ids = await to_thread.run_sync(place.suspects)
            damage = await find_damage(self._git, place, ids, lock)
            if damage:
                return damage
            if sight is not None:
                self._whole[place.root] = sight
        await to_thread.run_sync(place.trust)
        return ""

    async def _remove(self, place: MirrorDirectory, damage: str) -> None:
        async with open_for_deletion(place, f"delete the corrupt mirror {place.repository}"):
            if await to_thread.run_sync(place.is_suspect):
                self._times[place.root] += 1
                self._whole.pop(place.root, None)
                emit(MirrorRenewed(mirror=str(place.repository), damage=damage))
                if self._seeds is not None:
                    self._seeds.distrust(place)
                await self._upkeep.remove(place)


async def mark_suspect(repository: Path, object_id: str = "") -> None:
    """Mark the mirror of a repository as suspected; the next task that opens it examines it."""
    await to_thread.run_sync(MirrorDirectory(repository.parent).mark_suspect, object_id)
