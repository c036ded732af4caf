"""An archive made anew, and what is kept of it for the next one to be made of it."""

from binascii import unhexlify
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Final

from asyncbuild.archive.attributes import FILE_NAME, Effect, digest_of, effect_of, is_attributes
from asyncbuild.archive.tables import TableWriter
from asyncbuild.archive.writer import ZipStream
from asyncbuild.archive.zip import pack_end
from asyncbuild.errors import Retry
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.model import Account

_ATTRIBUTES_BYTES_MOST: Final = 1024 * 1024
_ATTRIBUTES_MOST: Final = 2_000
_ID_BEGINS: Final = len("100644 blob ")


class TreeIds:
    """Blob ids of a tree for its archive, which names its members in the same order (`BlobIds`)."""

    def __init__(self, batches: AsyncIterator[list[bytes]]) -> None:
        self._batches = batches  # lines of git ls-tree
        self._known: dict[bytes, bytes] = {}
        self.attributes: dict[bytes, tuple[int, str]] = {}

    async def find(self, paths: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Raw ids of those that are blobs.

        Raises:
            Retry: The tree has no such entry, or not there.
        """
        found: dict[bytes, bytes] = {}
        known = self._known
        for path in paths:
            if path[-1:] == b"/":
                continue
            while path not in known:
                if not await self._read():
                    raise Retry(f"git archive names {path!r}, git ls-tree does not at this place")
                known = self._known
            found[path] = unhexlify(known[path])
        return found

    async def finish(self) -> None:
        """Look at what the archive left out: its attributes count all the same."""
        while await self._read():
            pass

    async def _read(self) -> bool:
        """The next batch: what was before it is not asked for any more."""
        lines = await anext(self._batches, None)
        if lines is None:
            return False
        self._known = {}
        for line in lines:
            facts, _, path = line.partition(b"\t")
            self._known[path] = facts[_ID_BEGINS:]
            if FILE_NAME in path and is_attributes(path):
                mode, _, name = facts.decode().split()
                self.attributes[path] = (int(mode, 8), name)
        return True


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


async def iter_archive(
    stream: ZipStream, writer: TableWriter, account: Account
) -> AsyncGenerator[bytes, None]:
    """The whole zip; the directory is written into `writer` as it passes."""
    async for chunk in stream.iter_members():
        yield chunk
    offset = stream.statistics().zip_bytes
    async for headers in stream.iter_headers():
        await writer.append(headers)
        yield headers
    end = pack_end(entries=stream.statistics().entries, offset=offset, nbytes=writer.nbytes)
    await account.take(len(end))
    yield end
