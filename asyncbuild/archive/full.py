"""Full archives, and the directory kept of each for the next delta."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from asyncbuild.archive.archive_order import DeltaArchive, Order
from asyncbuild.archive.blob_ids import TreeIds, with_ids
from asyncbuild.archive.delta.effects import Effects
from asyncbuild.archive.delta.planning.attributes import Effect
from asyncbuild.archive.delta.planning.base import Base
from asyncbuild.archive.delta.table_cache import Tables, TableWriter, table_name
from asyncbuild.domain.model import Account, StoredArchive
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.storage.parts import LEAST_PART_BYTES
from asyncbuild.storage.s3 import Store
from asyncbuild.zip.engine import WORKING_BYTES
from asyncbuild.zip.format.records import pack_end
from asyncbuild.zip.stream import ZipEngine, ZipOptions, ZipOutput


@dataclass(slots=True)
class DirectoryRange:
    """Offset and length of an archive's directory, known once all of it has passed."""

    offset: int = 0
    nbytes: int = 0


@dataclass(frozen=True, slots=True)
class _AttributesRead:
    digest: str = ""
    effect: Effect = Effect.UNKNOWN
    files: Mapping[bytes, str] = field(default_factory=dict)


class FullWay:
    """Makes full archives of commits.

    Args:
        engine: Zip engine.
        store: Bucket of the archives.
        budget: Memory that archives share.
        part_bytes: Length of a part that is sent (`storage.part_bytes`).
    """

    def __init__(
        self, engine: ZipEngine, store: Store, budget: MemoryBudget, *, part_bytes: int
    ) -> None:
        self._engine = engine
        self._store = store
        self._budget = budget
        self._reserved = WORKING_BYTES + part_bytes
        self._effects = Effects()

    async def put(
        self, order: Order, ids: TreeIds | None, *, tables: Tables, format_: str
    ) -> DeltaArchive:
        """Make an archive.

        Args:
            order: The archive.
            ids: Blob ids of the tree, which a base needs; None if it will not be one.
            tables: Keeps the archive's directory if it may be a base.
            format_: Facts that its bytes depend on, without the tree.

        Raises:
            StageError: The stage that failed raised it.
        """
        snapshot, directory, read = order.snapshot, DirectoryRange(), _AttributesRead()
        with tables.open_writer() as writer:
            archive, entries = await self._send(order, ids, directory, writer)
            # The directory of an archive that was there may be another one: a delta's.
            kept = not archive.reused and directory.offset >= LEAST_PART_BYTES
            if ids is not None and kept:
                read = await self._read_attributes(snapshot, ids)
                await writer.finish(table_name(archive.key, archive.etag), offset=directory.offset)
        base = Base(
            key=archive.key,
            etag=archive.etag,
            size_bytes=archive.size_bytes,
            format=format_,
            commit=snapshot.commit,
            tree=snapshot.tree,
            directory_offset=directory.offset,
            directory_bytes=directory.nbytes,
            attributes=read.digest,
            effect=read.effect,
            files=read.files,
        )
        return DeltaArchive(archive, base, entries=entries, files_read=entries)

    async def _send(
        self, order: Order, ids: TreeIds | None, directory: DirectoryRange, writer: TableWriter
    ) -> tuple[StoredArchive, int]:
        """Make the object, and return it with the number of its entries."""
        options = ZipOptions(blob_ids=ids, cut=len(order.snapshot.above))
        async with (
            self._budget.open_account(self._reserved) as account,
            order.snapshot.open_archive() as tar,
            self._engine.open_zip(tar, account=account, options=options) as stream,
            aclosing(
                iter_archive(stream, ids, directory=directory, writer=writer, account=account)
            ) as chunks,
        ):
            if ids is not None:
                ids.follow(lambda: stream.statistics().zip_bytes)
            with order.watch(stream):
                archive = await self._store.put_archive(
                    order.key,
                    chunks,
                    account=account,
                    guard=order.guard,
                    metadata=order.metadata,
                    reuse=order.reuse,
                )
        return archive, stream.statistics().entries

    async def _read_attributes(self, snapshot: Snapshot, ids: TreeIds) -> _AttributesRead:
        await ids.finish()
        attributes = snapshot.rooted(ids.attributes)
        digest, effect = await self._effects.read(snapshot, attributes)
        return _AttributesRead(
            digest, effect, {path: name for path, (_, name) in attributes.items()}
        )


async def iter_archive(
    stream: ZipOutput,
    ids: TreeIds | None,
    *,
    directory: DirectoryRange,
    writer: TableWriter,
    account: Account,
) -> AsyncGenerator[bytes, None]:
    """Yield the whole zip; `writer` keeps its directory if a delta can be made from it.

    Args:
        stream: The members and their headers.
        ids: Blob ids for the directory; None writes none.
        directory: Set to the place of the directory.
        writer: Keeps the directory of an archive of at least 5 MiB.
        account: Pays for the bytes that are added.
    """
    async for chunk in stream.iter_members():
        yield chunk
    directory.offset = stream.statistics().zip_bytes
    large = ids is not None and directory.offset >= LEAST_PART_BYTES
    early = await ids.find_early() if ids is not None and large else {}
    async for headers in with_ids(stream.iter_headers(), early, account):
        directory.nbytes += len(headers)
        if large:
            await writer.append(headers)
        yield headers
    entries = stream.statistics().entries
    end = pack_end(entries=entries, offset=directory.offset, nbytes=directory.nbytes)
    await account.take(len(end))
    yield end
