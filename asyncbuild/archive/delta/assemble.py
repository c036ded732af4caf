"""Pieces of a delta archive in order: ranges to copy, and bytes to send."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final

from asyncbuild.archive.delta.fallback import FallBack
from asyncbuild.archive.delta.planning.plan import DeltaPlan
from asyncbuild.archive.delta.table_cache import TableWriter
from asyncbuild.domain.model import Account
from asyncbuild.git.formats.tree_lines import TreeEntry
from asyncbuild.storage.compose import Piece
from asyncbuild.zip.format.records import pack_end
from asyncbuild.zip.stream import ZipOutput

_MIB: Final = 1024 * 1024


class KnownIds:
    """Blob ids of the fresh entries (`BlobIds`)."""

    def __init__(self, fresh: Mapping[bytes, TreeEntry]) -> None:
        self._fresh = fresh

    async def find(self, paths: Iterable[bytes]) -> list[bytes]:
        """Return raw ids, empty for directories.

        Raises:
            FallBack: A path is not among the fresh entries.
        """
        return [b"" if path.endswith(b"/") else self._find(path) for path in paths]

    def _find(self, path: bytes) -> bytes:
        entry = self._fresh.get(path)
        if entry is None:
            raise FallBack("unexpected-entry", f"git archive gave {path!r} unasked")
        return bytes.fromhex(entry.object_id)


class Headers:
    """Central directory behind its copied prefix, with the records that end it.

    Args:
        plan: What is copied.
        stream: The fresh members.
        account: Pays for the headers.
    """

    def __init__(self, plan: DeltaPlan, stream: ZipOutput, account: Account) -> None:
        self._plan = plan
        self._stream = stream
        self._account = account
        self.offset = 0

    async def iter(self, keep: Callable[[bytes], Any]) -> AsyncIterator[bytes]:
        """Yield all of it, paid from the account; pass headers to `keep` on the way."""
        self.offset = self._stream.statistics().zip_bytes
        nbytes = self._plan.prefix_bytes
        for headers in self._plan.iter_headers():
            for begin in range(0, len(headers), _MIB):
                piece = headers[begin : begin + _MIB]
                await self._account.take(len(piece))
                await keep(piece)
                nbytes += len(piece)
                yield piece
        async for piece in self._stream.iter_headers():
            await keep(piece)
            nbytes += len(piece)
            yield piece
        entries = self._plan.entries + self._stream.statistics().entries
        end = pack_end(entries=entries, offset=self.offset, nbytes=nbytes)
        await self._account.take(len(end))
        yield end


async def put_together(
    plan: DeltaPlan,
    resent: AsyncIterator[bytes],
    stream: ZipOutput,
    headers: Headers,
    writer: TableWriter,
) -> list[Piece]:
    """Return the pieces of the archive, from its beginning to its end.

    Args:
        plan: What is copied and what is sent.
        resent: Bytes of the base that are sent again.
        stream: The fresh members.
        headers: The directory behind its copied prefix.
        writer: Keeps the whole directory for the next delta.
    """
    pieces: list[Piece] = [*plan.copied_ranges(), resent, stream.iter_members()]
    if prefix := plan.prefix_range():
        await writer.append(plan.table.directory[: plan.prefix_bytes])
        pieces.append(prefix)
    return [*pieces, headers.iter(writer.append)]
