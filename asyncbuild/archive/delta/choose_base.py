"""Choice of the older archive that a new one is made from."""

from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from typing import Final

from asyncbuild.archive.delta.base_records import Bases
from asyncbuild.archive.delta.fallback import FallBack
from asyncbuild.archive.delta.lineage import ArchiveLineage, with_options
from asyncbuild.archive.delta.planning.base import Base
from asyncbuild.domain.archive_options import ArchiveOptions
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.events.git_events import ArchiveNotRemembered
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.git.tree.changes import NoSuchTree
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.recent import Recent
from asyncbuild.storage.parts import LEAST_PART_BYTES

_SMALL_MOST: Final = 10_000
_MUCH_NEARER: Final = 2  # times fewer changes


class Choice:
    """Chooses among the newest archives of all refs, only those of the same format.

    If the last archive of a ref was too small to copy from, nothing is recorded or looked up for
    it.
    """

    def __init__(self, bases: Bases, format_of: Callable[[ArchiveOptions], str]) -> None:
        self._bases = bases
        self._format_of = format_of
        self._small: Recent[ArchiveLineage, None] = Recent(_SMALL_MOST)

    async def find(self, snapshot: Snapshot, origin: ArchiveLineage) -> Base:
        """Return the newest archive of the ref; if it has none, the nearest one of another ref.

        Raises:
            FallBack: There is none, or it was made with other settings.
        """
        origin = with_options(origin, snapshot.options)
        if origin in self._small:
            raise FallBack("small")
        own = await self._bases.find(origin.repository, origin.ref)
        if own is not None and own.format == self._format_of(snapshot.options):
            return own
        others = await self._others(snapshot.options, origin)
        if not others:
            raise FallBack("no-base" if own is None else "other-format")
        return await _nearest(snapshot, others) or others[0]

    async def find_nearer(
        self, snapshot: Snapshot, origin: ArchiveLineage, *, than: Base, changes: int
    ) -> Base | None:
        """Return the nearest archive of another ref, if there is any.

        If the number of changes is known, not 0, only an archive with at most half as many is
        returned: one that is as far away would not pay either.

        Args:
            snapshot: The commit to archive.
            origin: Its ref, which is left out.
            than: The archive that was chosen first.
            changes: How many paths differ from that one; 0 if that is not known.
        """
        found = await self._others(snapshot.options, origin)
        others = [base for base in found if base.key != than.key]
        if not others:
            return None
        if not changes:
            return await _nearest(snapshot, others) or others[0]
        return await _nearest(snapshot, others, most=changes // _MUCH_NEARER)

    async def remember(self, options: ArchiveOptions, origin: ArchiveLineage, base: Base) -> None:
        """Record that the next archive of the ref may start from this one; only log a failure.

        Args:
            options: Options that the archive was made with.
            origin: Its repository and ref.
            base: The archive.
        """
        origin = with_options(origin, options)
        self._small.pop(origin, None)
        if base.directory_offset < LEAST_PART_BYTES:
            self._small[origin] = None
            return
        try:
            await self._bases.set(origin.repository, origin.ref, base)
        except StageError as error:
            emit(ArchiveNotRemembered(reason=str(error)))

    async def _others(self, options: ArchiveOptions, origin: ArchiveLineage) -> list[Base]:
        """Return the newest archives of other refs in the same format, newest first."""
        found = await self._bases.find_others(origin.repository)
        return [base for base in found if base.format == self._format_of(options)]


async def _nearest(
    snapshot: Snapshot, bases: Sequence[Base], *, most: int | None = None
) -> Base | None:
    """Return the base with the same tree, or else with the fewest changes, less than `most`.

    For a new ref that is the archive of the ref it branched from, if there is one: nothing has
    fewer changes than the merge base. None if no tree is here, or all have more changes.
    """
    nearest: Base | None = None
    for base in bases:
        if base.tree == snapshot.tree:
            return base
        with suppress(NoSuchTree):
            changes = await _count_changes(snapshot, base, most)
            if most is None or changes < most:
                nearest, most = base, changes
    return nearest


async def _count_changes(snapshot: Snapshot, base: Base, most: int | None) -> int:
    """Return the number of changes; counting stops at the first number beyond `most`."""
    count = 0
    async with aclosing(snapshot.iter_changes(base.tree)) as batches:
        async for batch in batches:
            count += len(batch)
            if most is not None and count > most:
                break
    return count
