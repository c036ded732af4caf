"""Source of seeds, from which a first fetch may begin; `git/seeds/` has it."""

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Protocol

from asyncbuild.git.mirrors.directory import MirrorDirectory
from asyncbuild.git.seeds.plans.seed_manifest import SeedManifest


class SeedSource(Protocol):
    """Finds, takes and writes seeds of mirrors. Its failures are events, never errors."""

    async def find(self, place: MirrorDirectory, formats: Collection[str]) -> SeedManifest | None:
        """Return the seed of a mirror whose object format is the only one of `formats`."""

    async def fill(
        self,
        place: MirrorDirectory,
        staging: Path,
        manifest: SeedManifest,
        *,
        make_way: Callable[[int], Awaitable[None]],
    ) -> bool:
        """Fill a new repository with a seed; return whether that was done."""

    def refuse(self, place: MirrorDirectory, reason: str) -> None:
        """Record that a seed cannot be used, for a reason that git found."""

    def distrust(self, place: MirrorDirectory) -> None:
        """Record that a mirror was damaged: it is cloned, and then written again."""

    def note(self, place: MirrorDirectory) -> None:
        """Note that a mirror has changed; it is written later if that is due."""
