"""Archive of a commit in S3, made by the cheapest way there is.

If a cheap way fails, the archive is made in full, and the reason is logged.

    copy    the same tree is in S3 already: S3 copies the object
    delta   most of the tree is: S3 copies ranges, the rest is made and sent (`delta/write.py`)
    full    everything is read, compressed and sent (`full.py`)
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from asyncbuild.archive.archive_order import DeltaArchive, Order
from asyncbuild.archive.blob_ids import open_tree_ids
from asyncbuild.archive.delta.backoff import Pauses
from asyncbuild.archive.delta.base_records import Bases
from asyncbuild.archive.delta.choose_base import Choice
from asyncbuild.archive.delta.explicit_base import COMMIT_KEY, FORMAT_KEY, read_base
from asyncbuild.archive.delta.fallback import FallBack
from asyncbuild.archive.delta.lineage import ArchiveLineage, with_options
from asyncbuild.archive.delta.planning.attributes import Effect
from asyncbuild.archive.delta.planning.base import Base
from asyncbuild.archive.delta.table_cache import Tables, table_name
from asyncbuild.archive.delta.write import DeltaOrder, DeltaWay
from asyncbuild.archive.full import FullWay
from asyncbuild.config.settings import Settings
from asyncbuild.domain.archive_options import ArchiveOptions
from asyncbuild.domain.errors import NoPermission, Outage, Reject, Retry
from asyncbuild.domain.events.git_events import ArchiveFull, ArchiveLarge
from asyncbuild.git.process.limits import OutOfMemory
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.git.tree.export_subst import Placeholders
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.runtime.recent import Recent
from asyncbuild.storage.compose import CopySource, NewObject
from asyncbuild.storage.parts import LEAST_PART_BYTES
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.engine import WORKING_BYTES
from asyncbuild.zip.stream import ZipEngine

FORMAT_VERSION: Final = 1  # of the zip's bytes: part of an archive's fingerprint

_SUBTREE_FORMAT: Final = "2"  # format of the entries in an archive of a subtree

_TABLES: Final = "archive-tables"  # in a mirror: measured and deleted with it
_TABLE_COPIES: Final = 3  # a directory as read, as kept, and its lines with an index
_MOST_OF_BUDGET: Final = 3 / 4
_LOOK_FURTHER_BYTES: Final = 64 * 1024 * 1024  # takes seconds to make in full
_LARGE_MOST: Final = 10_000
_PAUSE: Final = "did-not-pay"
_FAR: Final = frozenset({"does-not-pay", "attributes-changed", "too-many-paths"})


@dataclass(frozen=True, slots=True)
class Result:
    """An archive that was made; `fallback` says why it is neither a delta nor a copy, if so."""

    made: DeltaArchive
    base_key: str = ""
    fallback: str = ""


class Archiver:
    """Makes archives in `storage.bucket`.

    Args:
        engine: Makes zips.
        budget: Memory of all archives.
        store: Bucket of the archives.
        settings: All settings.
        look_further_bytes: Length of a base from which on a nearer one is searched, if it does not
            pay.
    """

    def __init__(
        self,
        *,
        engine: ZipEngine,
        budget: MemoryBudget,
        store: Store,
        settings: Settings,
        look_further_bytes: int = _LOOK_FURTHER_BYTES,
    ) -> None:
        self._budget = budget
        self._store = store
        self._delta = DeltaWay(engine, store)
        self._full = FullWay(engine, store, budget, part_bytes=settings.storage.part_bytes)
        self._enabled = settings.archive.delta == "auto"
        self._most_bytes = settings.archive.memory_budget_bytes
        # Repositories with files that are large for git.
        self._large: Recent[Path, None] = Recent(_LARGE_MOST)
        self._look_further_bytes = look_further_bytes
        self._pauses = Pauses()
        self._placeholders = Placeholders()
        self._part_bytes = settings.storage.part_bytes
        ids = ".ids" if self._enabled else ""
        self._format = f"{FORMAT_VERSION}.{settings.archive.level}{ids}"
        bases = Bases(store, prefix=settings.storage.ledger_prefix)
        self._choice = Choice(bases, self.format_of)

    def format_of(self, options: ArchiveOptions) -> str:
        """Return the facts that an archive's bytes depend on, without its tree; equal for its base.

        With other options, or another level, the same commit is another archive.
        """
        # In earlier versions attributes above a subtree did not count.
        more = (options.digest, _SUBTREE_FORMAT) if options.subtree else (options.digest,)
        return ".".join((self._format, *filter(None, more)))

    async def put(self, order: Order) -> Result:
        """Make the archive, and record it as a base of the next one.

        Raises:
            StageError: The stage that failed raised it.
        """
        order = replace(order, metadata=self._metadata(order))
        if order.snapshot.path not in self._large:
            try:
                return await self._put(order)
            except OutOfMemory as error:
                emit(ArchiveLarge(reason=error.reason))
        # One at a time, with the memory that it takes, once the first archive is found to be large.
        order = replace(order, snapshot=await order.snapshot.measured())
        self._large[order.snapshot.path] = None
        return await self._put(order)

    async def _put(self, order: Order) -> Result:
        fallback = base_key = ""
        made: DeltaArchive | None = None
        if not self._enabled or (order.origin is None and not order.base_key):
            fallback = "off"
        else:
            try:
                made, base_key = await self._put_cheaply(order)
            except FallBack as reason:
                fallback = reason.reason
                emit(ArchiveFull(reason=reason.reason, detail=reason.detail))
            except OutOfMemory:
                raise
            except (Retry, Outage, Reject, NoPermission) as error:
                if order.base_key and isinstance(error, Reject):
                    raise
                fallback = "failed"
                emit(ArchiveFull(reason=fallback, detail=str(error)), level="warning")
        origin = self._remembered(order, fallback)
        if made is None:
            tables = self._tables(order, kept=origin is not None)
            large = fallback in _FAR or fallback == _PAUSE
            made = await self._put_full(order, tables=tables, large=large)
        if made.archive.kind != "copy" and _may_substitute(made.base):
            await self._placeholders.tell(order.snapshot)
        if origin is not None and not made.archive.reused:  # its own maker has recorded it
            await self._choice.remember(order.snapshot.options, origin, made.base)
        return Result(made, base_key=base_key, fallback=fallback)

    def _remembered(self, order: Order, fallback: str) -> ArchiveLineage | None:
        """Return the ref whose next archive may be made from this one; None if it may not be."""
        origin, snapshot = order.origin, order.snapshot
        alone = not snapshot.parts and not _depends_on_more(snapshot)
        if not self._enabled or origin is None or not alone:
            return None
        pauses = fallback == _PAUSE and self._pauses.lasts(with_options(origin, snapshot.options))
        return None if pauses else origin

    async def _put_cheaply(self, order: Order) -> tuple[DeltaArchive, str]:
        """Make a copy or a delta, and return it with its base's key.

        The base is the chosen one, or a nearer one if too little of it is left. A branch that was
        reset, or that another one was merged into, may have more in common with that other one than
        with its own past. The search takes a few requests, so only a large archive is worth it.
        """
        snapshot, origin = order.snapshot, order.origin
        if snapshot.parts:
            raise FallBack("submodules")
        if _depends_on_more(snapshot):
            raise FallBack("lfs")
        if order.base_key or origin is None:
            base = await read_base(
                self._store, snapshot, order.base_key, format_=self.format_of(snapshot.options)
            )
            return await self._put_from(order, base), base.key
        ref = with_options(origin, snapshot.options)
        if pause := self._pauses.take(ref):
            raise FallBack(_PAUSE, f"of late; asked once in {pause + 1} pushes")
        base = await self._choice.find(snapshot, origin)
        try:
            made = await self._put_from(order, base)
        except FallBack as reason:
            if base.size_bytes < self._look_further_bytes or reason.reason not in _FAR:
                if reason.reason == "does-not-pay":
                    self._pauses.lengthen(ref)
                raise
            nearer = await self._choice.find_nearer(
                snapshot, origin, than=base, changes=reason.changes
            )
            if nearer is None:
                raise
            return await self._put_from(order, nearer), nearer.key
        if made.archive.kind == "delta":
            self._pauses.end(ref)
        return made, base.key

    def _tables(self, order: Order, *, kept: bool = True) -> Tables:
        """Return the tables beside a mirror; a user's own repository is never written to."""
        return Tables(Path(order.snapshot.path, _TABLES) if order.origin and kept else None)

    # --- ways -------------------------------------------------------------------------------------

    async def _put_from(self, order: Order, base: Base) -> DeltaArchive:
        if not _has_same_above(order.snapshot, base):
            raise FallBack("attributes-changed")
        same = base.tree == order.snapshot.tree
        same_stamps = base.effect is not Effect.SUBSTITUTE or base.commit == order.snapshot.commit
        if same and same_stamps and base.effect is not Effect.UNKNOWN:
            return await self._copy(order, base)
        if order.snapshot.options.paths:
            raise FallBack("paths")  # changes may be outside of them: only git can tell
        if base.directory_offset < LEAST_PART_BYTES:
            raise FallBack("small")
        table_bytes = _TABLE_COPIES * base.directory_bytes
        reserved = WORKING_BYTES + 2 * self._part_bytes + LEAST_PART_BYTES + table_bytes
        if reserved > self._most_bytes * _MOST_OF_BUDGET:
            raise FallBack(
                "directory-too-large",
                f"{base.directory_bytes} bytes; raise archive.memory_budget_bytes",
            )
        async with self._budget.open_account(reserved) as account:
            await account.take(table_bytes)
            tables = self._tables(order)
            return await self._delta.put(DeltaOrder(order, base, tables, account))

    async def _copy(self, order: Order, base: Base) -> DeltaArchive:
        async with self._budget.open_account(self._part_bytes) as account:
            archive = await self._store.copy_archive(
                NewObject(order.key, order.guard, order.metadata),
                source=CopySource(base.key, base.etag),
                size_bytes=base.size_bytes,
                account=account,
            )
        old_name = table_name(base.key, base.etag)
        await self._tables(order).alias(old_name, table_name(archive.key, archive.etag))
        new = replace(base, key=archive.key, etag=archive.etag, commit=order.snapshot.commit)
        return DeltaArchive(archive, new, entries=0, files_read=0)

    async def _put_full(self, order: Order, *, tables: Tables, large: bool) -> DeltaArchive:
        """Make it in full.

        Args:
            order: The archive.
            tables: Keeps its directory.
            large: Whether it is certain to be large enough as a base.
        """
        put = partial(
            self._full.put, order, tables=tables, format_=self.format_of(order.snapshot.options)
        )
        if not self._enabled or order.snapshot.parts:  # no single tree has all its contents
            return await put(None)
        async with open_tree_ids(order.snapshot.iter_lines, at_once=large) as ids:
            return await put(ids)

    def _metadata(self, order: Order) -> dict[str, str]:
        format_ = self.format_of(order.snapshot.options)
        return {COMMIT_KEY: order.snapshot.commit, FORMAT_KEY: format_, **order.metadata}


def _may_substitute(base: Base) -> bool:
    """Return whether `export-subst` may apply; True for small archives, where that is unknown."""
    return base.effect is Effect.SUBSTITUTE or base.directory_offset < LEAST_PART_BYTES


def _has_same_above(snapshot: Snapshot, base: Base) -> bool:
    """Return whether the attributes above the subtree are those that the base was made with."""
    before = {
        path: name for path, name in base.files.items() if not path.startswith(snapshot.above)
    }
    now = {path: name for path, (_, name) in snapshot.attributes_above.items()}
    return not snapshot.above or before == now


def _depends_on_more(snapshot: Snapshot) -> bool:
    """Return whether attributes above the tree may change what replaces a pointer."""
    return snapshot.contents is not None and bool(snapshot.options.subtree)
