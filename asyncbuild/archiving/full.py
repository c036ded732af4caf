"""An archive made anew, and what is kept of it for the next one to be made of it."""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from asyncbuild.archive.attributes import Effect, digest_of, effect_of, is_attributes
from asyncbuild.archive.tables import TableWriter
from asyncbuild.archive.writer import ZipStream
from asyncbuild.archive.zip import pack_end
from asyncbuild.errors import Retry
from asyncbuild.git.blobs import TreeEntry
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.model import Account

_ATTRIBUTES_BYTES_MOST: Final = 1024 * 1024
_ATTRIBUTES_MOST: Final = 2_000


class TreeIds:
    """Blob ids of a tree for its archive, which names its members in the same order (`BlobIds`)."""

    def __init__(self, batches: AsyncIterator[list[TreeEntry]]) -> None:
        self._batches = batches
        self._coming: deque[TreeEntry] = deque()
        self.attributes: dict[bytes, tuple[int, str]] = {}

    async def find(self, paths: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Raw ids of those that are blobs.

        Raises:
            Retry: The tree has no such entry, or not there.
        """
        found: dict[bytes, bytes] = {}
        for path in paths:
            if not path.endswith(b"/"):
                found[path] = bytes.fromhex((await self._pass_to(path)).object_id)
        return found

    async def finish(self) -> None:
        """Look at what the archive left out: its attributes count all the same."""
        while self._coming or await self._more():
            self._note(self._coming.popleft())

    async def _pass_to(self, path: bytes) -> TreeEntry:
        while self._coming or await self._more():
            entry = self._coming.popleft()
            self._note(entry)
            if entry.path == path:
                return entry
        raise Retry(f"git archive names {path!r}, git ls-tree does not at this place")

    def _note(self, entry: TreeEntry) -> None:
        if is_attributes(entry.path):
            self.attributes[entry.path] = (entry.mode, entry.object_id)

    async def _more(self) -> bool:
        batch = await anext(self._batches, None)
        self._coming.extend(batch or ())
        return batch is not None


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
) -> AsyncIterator[bytes]:
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
