"""An archive made in full, and what is kept of it for the next one to be made of it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from asyncbuild.archive.blob_ids import TreeIds, with_ids
from asyncbuild.archive.delta.table_cache import TableWriter
from asyncbuild.domain.model import Account
from asyncbuild.storage.parts import LEAST_PART_BYTES
from asyncbuild.zip.format.records import pack_end
from asyncbuild.zip.stream import ZipOutput


@dataclass(slots=True)
class DirectoryRange:
    """Where an archive's directory begins, and its length; known when all of it has passed."""

    offset: int = 0
    nbytes: int = 0


async def iter_archive(
    stream: ZipOutput,
    ids: TreeIds | None,
    *,
    directory: DirectoryRange,
    writer: TableWriter,
    account: Account,
) -> AsyncGenerator[bytes, None]:
    """The whole zip. Of one that others can be made of, the directory is kept by `writer`."""
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
