"""Deltas: archives made from an older one; changes are read from git, S3 copies the rest."""

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from asyncbuild.archive.archive_order import DeltaArchive, Order
from asyncbuild.archive.delta.assemble import Headers, KnownIds, put_together
from asyncbuild.archive.delta.compare import Comparison, Difference, paths_of
from asyncbuild.archive.delta.fallback import FallBack
from asyncbuild.archive.delta.planning.attributes import Effect, digest_of, is_attributes
from asyncbuild.archive.delta.planning.base import Base
from asyncbuild.archive.delta.planning.cost_model import Way, decide
from asyncbuild.archive.delta.planning.entry_table import (
    END_BYTES,
    CentralDirectory,
    Table,
    parents_of,
    parse_directory,
    parse_end,
)
from asyncbuild.archive.delta.planning.hopeless import is_hopeless
from asyncbuild.archive.delta.planning.plan import DeltaPlan, plan_delta
from asyncbuild.archive.delta.table_cache import Tables, table_name
from asyncbuild.domain.model import Account, ByteRange
from asyncbuild.git.formats.gitattributes import is_doubtful
from asyncbuild.git.formats.tree_lines import TreeEntry
from asyncbuild.git.snapshot import PATHS_BYTES_MOST, Snapshot
from asyncbuild.git.tree.changes import Lines, NoSuchTree, files_before, parse_changes
from asyncbuild.runtime.tasks import open_tasks
from asyncbuild.storage.compose import CopySource, NewObject
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.stream import ZipEngine, ZipOptions, ZipOutput

_SUBSTITUTE: Final = "export-subst"


@dataclass(frozen=True, slots=True)
class DeltaOrder:
    """Order for a delta.

    Attributes:
        order: The archive.
        base: The older archive.
        tables: Directories of archives, kept beside the mirror.
        account: Memory for the engine, the parts and the base's directory.
    """

    order: Order
    base: Base
    tables: Tables
    account: Account

    @property
    def snapshot(self) -> Snapshot:
        """The commit."""
        return self.order.snapshot


class DeltaWay:
    """Makes deltas: archives from older ones."""

    def __init__(self, engine: ZipEngine, store: Store) -> None:
        self._engine = engine
        self._store = store

    async def put(self, delta: DeltaOrder) -> DeltaArchive:
        """Make the archive.

        Raises:
            FallBack: It cannot be made from the base, or that is not cheaper than in full.
            StageError: Something else failed; see the stages.
        """
        base = delta.base
        if base.effect is Effect.UNKNOWN:
            raise FallBack("attributes-unknown")
        directory, lines = await self._look(delta)
        if lines is not None and is_hopeless(directory, files_before(lines)):
            raise _nothing_left(base, changes=len(lines) // 2)
        table = parse_directory(*directory)
        difference = await self._difference(delta, table, lines)
        if is_doubtful((entry.mode, entry.path) for entry in difference.fresh.values()):
            raise FallBack("odd-path", changes=difference.changes)  # git's check is bypassed
        plan = self._plan(base, table, difference)
        return await self._make(_DeltaJob(delta, plan, difference))

    # --- plan -------------------------------------------------------------------------------------

    def _plan(self, base: Base, table: Table, difference: Difference) -> DeltaPlan:
        """Return what is copied and what is sent.

        Raises:
            FallBack: Nothing can be copied, or an archive in full is cheaper.
        """
        plan = plan_delta(table, self._numbers(table, difference, base.effect))
        if not plan.copies:
            raise _nothing_left(base, changes=difference.changes)
        decision = decide(plan)
        if decision.kind is Way.FULL:
            why = (
                f"{decision.delta_seconds:.2f} s of {base.key} against "
                f"{decision.full_seconds:.2f} s, by the model"
            )
            raise FallBack("does-not-pay", why, changes=difference.changes)
        return plan

    async def _look(self, delta: DeltaOrder) -> tuple[CentralDirectory, Lines | None]:
        """Return the base's directory, and git's list of changes, read at the same time.

        The list is None if git does not have the base's tree. It is not parsed before it is needed.
        """
        directory: CentralDirectory | None = None

        async def load() -> None:
            nonlocal directory
            directory = await self._directory(delta)

        async with open_tasks() as tasks:
            tasks.start_soon(load)
            lines = await _read_lines(delta.snapshot, delta.base)
        if directory is None:
            raise AssertionError("no directory, and no reason")
        return directory, lines

    async def _directory(self, delta: DeltaOrder) -> CentralDirectory:
        base, account = delta.base, delta.account
        directory = await delta.tables.load(table_name(base.key, base.etag))
        if directory is None:
            source = CopySource(base.key, base.etag)
            tail = ByteRange(base.directory_offset, base.size_bytes)
            read: list[bytes] = []
            async for chunk in self._store.iter_ranges(source, [[tail]], account=account):
                read.append(chunk)
                account.give_back(len(chunk))  # paid for as a whole by the caller
            content = b"".join(read)
            end = parse_end(content[-END_BYTES:])
            directory = CentralDirectory(content[: end.nbytes], end.offset)
        if (directory.offset, len(directory.content)) != (
            base.directory_offset,
            base.directory_bytes,
        ):
            raise FallBack("table-mismatch", f"{base.key} is not what its record says")
        return directory

    async def _difference(self, delta: DeltaOrder, table: Table, lines: Lines | None) -> Difference:
        """Return everything that has to be read again."""
        snapshot, base = delta.snapshot, delta.base
        if lines is None:
            comparison = Comparison(table)
            async for entries in snapshot.iter_tree():
                comparison.add(entries)
            if digest_of(snapshot.rooted(comparison.attributes)) != base.attributes:
                raise FallBack("attributes-changed")
            difference = comparison.finish(base.effect)
        else:
            difference = Difference()
            difference.add_changes(parse_changes(lines))
            difference.settle(table, base.effect)
        if base.effect is Effect.SUBSTITUTE:
            entries_of = {
                name: TreeEntry(mode, "blob", blob_id.hex(), name)
                for name, mode, blob_id in table.iter_entries()
                if blob_id and name not in difference.removed
            }
            stamped = await snapshot.find_attribute(_SUBSTITUTE, base.files, entries_of)
            difference.add_all((name, entries_of[name]) for name in sorted(stamped))
        return difference

    def _numbers(self, table: Table, difference: Difference, effect: Effect) -> list[int]:
        """Return the numbers of removed entries in the table.

        Raises:
            FallBack: The table disagrees with the base's tree: fresh names must be new to it.
        """
        removed = difference.removed
        found = table.find(removed | difference.fresh.keys())
        names = {table.name_of(number) for number in found}
        if effect is Effect.NONE and names < removed:
            raise FallBack("table-mismatch", "the older archive lacks entries of its tree")
        if not names <= removed:
            raise FallBack("table-mismatch", "the older archive has entries not of its tree")
        return found

    # --- make -------------------------------------------------------------------------------------

    async def _make(self, job: "_DeltaJob") -> DeltaArchive:
        plan, difference, snapshot = job.plan, job.difference, job.delta.snapshot
        by_paths = job.delta.base.effect is not Effect.NONE and difference.fresh
        if by_paths:
            paths = paths_of(difference.fresh)
            if snapshot.measure(paths) > PATHS_BYTES_MOST:
                raise FallBack("too-many-paths", f"{len(paths)} paths to read")
            opened = snapshot.open_archive(paths=paths)
        else:
            opened = snapshot.open_blobs(list(difference.fresh.values()))
        without = parents_of(difference.fresh) - difference.fresh.keys()
        async with (
            opened as tar,
            self._engine.open_zip(
                tar,
                account=job.delta.account,
                options=ZipOptions(
                    blob_ids=KnownIds(difference.fresh),
                    offset=plan.kept_bytes,
                    without=without,
                    cut=len(snapshot.above),
                ),
            ) as stream,
        ):
            with job.delta.order.watch(stream):
                return await self._send(job, stream)

    async def _send(self, job: "_DeltaJob", stream: ZipOutput) -> DeltaArchive:
        base, order, account = job.delta.base, job.delta.order, job.delta.account
        headers = Headers(job.plan, stream, account)
        spans = job.plan.resent_spans()
        source = CopySource(base.key, base.etag)
        with job.delta.tables.open_writer() as writer:
            async with aclosing(self._store.iter_ranges(source, spans, account=account)) as resent:
                archive = await self._store.compose(
                    NewObject(order.key, order.guard, order.metadata),
                    await put_together(job.plan, resent, stream, headers, writer),
                    source=source,
                    account=account,
                )
            await writer.finish(table_name(archive.key, archive.etag), offset=headers.offset)
            directory_bytes = writer.nbytes
        made = replace(
            base,
            key=archive.key,
            etag=archive.etag,
            size_bytes=archive.size_bytes,
            commit=order.snapshot.commit,
            tree=order.snapshot.tree,
            directory_offset=headers.offset,
            directory_bytes=directory_bytes,
        )
        read = stream.statistics().entries
        return DeltaArchive(
            archive,
            made,
            entries=job.plan.entries + read,
            files_read=read,
            resent_bytes=job.plan.resent_bytes,
            headers_bytes=directory_bytes - job.plan.prefix_bytes,
        )


@dataclass(frozen=True, slots=True)
class _DeltaJob:
    delta: DeltaOrder
    plan: DeltaPlan
    difference: Difference


def _nothing_left(base: Base, *, changes: int) -> FallBack:
    why = f"no 5 MiB of {base.key} are left in one piece"
    return FallBack("does-not-pay", why, changes=changes)


async def _read_lines(snapshot: Snapshot, base: Base) -> Lines | None:
    """Return what differs from the base's tree; None if that tree is not here.

    Raises:
        FallBack: Attributes changed, so that any entry may differ.
    """
    lines: Lines = []
    try:
        async with aclosing(snapshot.iter_changed_lines(base.tree)) as batches:
            async for batch in batches:
                if any(map(is_attributes, batch[1::2])):
                    raise FallBack("attributes-changed")
                lines += batch
    except NoSuchTree:
        return None
    return lines
