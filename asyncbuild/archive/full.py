"""An archive made in full, and what is kept of it for the next one to be made of it."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Final

from asyncbuild.archive.blob_ids import TreeIds, with_ids
from asyncbuild.archive.delta.planning.attributes import Effect, digest_of, effect_of
from asyncbuild.archive.delta.table_cache import TableWriter
from asyncbuild.domain.model import Account
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.storage.parts import LEAST_PART_BYTES
from asyncbuild.zip.engine import ZipStream
from asyncbuild.zip.format.records import pack_end

_ATTRIBUTES_BYTES_MOST: Final = 1024 * 1024
_ATTRIBUTES_MOST: Final = 2_000
_EFFECTS_MOST: Final = 10_000


async def read_effect(
    snapshot: Snapshot, files: Mapping[bytes, tuple[int, str]]
) -> tuple[str, Effect]:
    """Digest and effect of the `.gitattributes` of a snapshot.

    Raises:
        GitFailed: They cannot be read.
    """
    digest = digest_of(files)
    modes = [mode for mode, _ in files.values()]
    if len(files) > _ATTRIBUTES_MOST or effect_of(modes, ()) is Effect.UNKNOWN:
        return digest, Effect.UNKNOWN
    ids = list({name for _, name in files.values()})
    contents = await snapshot.read_blobs(ids, most_bytes=_ATTRIBUTES_BYTES_MOST)
    return digest, Effect.UNKNOWN if contents is None else effect_of(modes, contents)


class Effects:
    """What attributes do; asked of git once for equal ones, which a digest names."""

    def __init__(self) -> None:
        self._known: dict[str, Effect] = {}

    async def read(
        self, snapshot: Snapshot, files: Mapping[bytes, tuple[int, str]]
    ) -> tuple[str, Effect]:
        """As `read_effect`."""
        digest = digest_of(files)
        if digest not in self._known:
            if len(self._known) >= _EFFECTS_MOST:
                self._known.clear()
            _, self._known[digest] = await read_effect(snapshot, files)
        return digest, self._known[digest]


@dataclass(slots=True)
class DirectoryRange:
    """Where an archive's directory begins, and its length; known when all of it has passed."""

    offset: int = 0
    nbytes: int = 0


async def iter_archive(
    stream: ZipStream,
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
