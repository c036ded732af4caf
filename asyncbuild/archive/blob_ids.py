"""Blob ids for the central directory of a full archive, written if a later delta can use them."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from struct import Struct
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from asyncbuild.archive.delta.planning.attributes import FILE_NAME, is_attributes
from asyncbuild.domain.errors import Retry
from asyncbuild.domain.model import Account
from asyncbuild.git.formats.tree_lines import parse_entry, parse_lines
from asyncbuild.runtime.tasks import open_background
from asyncbuild.storage.parts import LEAST_PART_BYTES
from asyncbuild.zip.format.central_directory import HEADER_BYTES, NAME_LENGTH_AT, add_id

_LENGTHS: Final = Struct("<HH")  # of name and extra, in a central header (APPNOTE 4.3.12)


_Lines = list[bytes]  # lines of git ls-tree
_AHEAD: Final = 4  # batches that are read before they are asked for
_EARLY_MOST: Final = 20_000  # paths that may wait for git's answer


@asynccontextmanager
async def open_tree_ids(
    iter_lines: Callable[[], AsyncGenerator[_Lines, None]], *, at_once: bool = False
) -> AsyncIterator["TreeIds"]:
    """Own the git process that lists the tree; it starts when it is wanted, or at once."""
    sender, receiver = anyio.create_memory_object_stream[_Lines | Exception](_AHEAD)
    ids = TreeIds(receiver)
    if at_once:
        ids.wanted.set()

    async def read_ahead() -> None:
        async with sender, aclosing(iter_lines()) as batches:
            await ids.wanted.wait()
            try:
                async for lines in batches:
                    await sender.send(lines)
            except Exception as error:  # noqa: BLE001 - the caller of `find` raises it
                await sender.send(error)

    async with receiver, open_background() as tasks:
        tasks.start_soon(read_ahead)
        yield ids


class TreeIds:
    """Blob ids of a tree for its archive, whose members have the same order (`BlobIds`).

    No delta is made from an archive of less than 5 MiB. So git is not started before the archive is
    as long, or is sure to become so, and nothing waits for its answer. A header written without an
    id gets it when the directory is sent (`iter_archive`), which takes longer.
    """

    def __init__(self, batches: MemoryObjectReceiveStream[_Lines | Exception]) -> None:
        self.wanted = anyio.Event()
        self._batches = batches
        self._names: list[bytes] = []  # names in a batch, as an archive has them
        self._ids: list[bytes] = []  # their raw ids, empty if not a blob
        self._next = 0  # index of the next entry in both
        self._zip_bytes: Callable[[], int] = int
        self._begun = False
        self._early: list[bytes] = []
        self._early_ids: Mapping[bytes, bytes] = {}
        self.attributes: dict[bytes, tuple[int, str]] = {}

    def follow(self, zip_bytes: Callable[[], int]) -> None:
        """Set the function that returns the current length of the archive in bytes."""
        self._zip_bytes = zip_bytes

    async def find(self, paths: Sequence[bytes]) -> Sequence[bytes]:
        """Return raw ids, empty for entries that are no blobs; nothing before git answers.

        Raises:
            Retry: The tree has no such entry, or not at this place.
        """
        if not self._begun and not self._is_answered():
            self._early += paths
            return ()
        await self.find_early()
        return await self._find(paths)

    def _is_answered(self) -> bool:
        if not self.wanted.is_set():
            if self._zip_bytes() < LEAST_PART_BYTES:
                return False
            self.wanted.set()
        answered = self._batches.statistics().current_buffer_used > 0
        return answered or len(self._early) >= _EARLY_MOST

    async def find_early(self) -> Mapping[bytes, bytes]:
        """Return the raw ids of those blobs that came before git answered, by path.

        Raises:
            Retry: As `find`.
        """
        if not self._begun:
            self._begun = True
            self.wanted.set()
            ids = zip(self._early, await self._find(self._early), strict=True)
            self._early_ids = {path: blob_id for path, blob_id in ids if blob_id}
        return self._early_ids

    async def _find(self, paths: Sequence[bytes]) -> list[bytes]:
        """Return the ids of `paths`: the next entries, except where the archive leaves some out."""
        found: list[bytes] = []
        rest = list(paths)
        while rest:
            begin, end = self._next, self._next + len(rest)
            names = self._names[begin:end]
            if names != rest[: len(names)]:
                break
            found += self._ids[begin:end]
            self._next += len(names)
            rest = rest[len(names) :]
            if rest and not await self._read():
                break
        return found + [await self._seek(path) for path in rest]

    async def _seek(self, path: bytes) -> bytes:
        """Return the id of the next entry of this name."""
        while True:
            try:
                self._next = self._names.index(path, self._next) + 1
            except ValueError:
                if not await self._read():
                    msg = f"git archive names {path!r}, git ls-tree does not at this place"
                    raise Retry(msg) from None
            else:
                return self._ids[self._next - 1]

    async def finish(self) -> None:
        """Read the rest of the listing: attributes of entries that the archive omits count, too."""
        while await self._read():
            pass

    async def _read(self) -> bool:
        """Replace the current batch by the next one; return False at the end."""
        try:
            lines = await self._batches.receive()
        except anyio.EndOfStream:
            return False
        if isinstance(lines, Exception):
            raise lines
        self._names, self._ids, self._next = *parse_lines(lines), 0
        for line in [line for line in lines if FILE_NAME in line]:
            self._add_attributes(line)
        return True

    def _add_attributes(self, line: bytes) -> None:
        entry = parse_entry(line)
        if is_attributes(entry.path):
            self.attributes[entry.path] = (entry.mode, entry.object_id)


async def with_ids(
    pieces: AsyncIterator[bytes], ids: Mapping[bytes, bytes], account: Account
) -> AsyncIterator[bytes]:
    """Yield headers from `pieces`, which are cut anywhere, with ids added to the first ones.

    Args:
        pieces: The central directory.
        ids: Raw ids by path.
        account: Pays for the bytes that are added.
    """
    left, rest = len(ids), b""
    async for piece in pieces:
        if not left:
            yield rest + piece
            rest = b""
            continue
        held = len(rest) + len(piece)
        headers, named, rest = add_ids(rest + piece, ids, left)
        left -= named
        await account.take(len(headers) + len(rest) - held)
        if headers:
            yield headers
    if rest:
        yield rest


def add_ids(directory: bytes, ids: Mapping[bytes, bytes], most: int) -> tuple[bytes, int, bytes]:
    """Put ids into central headers, up to `most` of them.

    Args:
        directory: Headers; the last one may be incomplete.
        ids: Raw ids by path.
        most: How many headers still need one.

    Returns:
        The headers processed, how many of them got an id, and the bytes that follow them.
    """
    packed: list[bytes] = []
    named, begin = 0, 0
    while named < most and begin + HEADER_BYTES <= len(directory):
        name_length, extra_length = _LENGTHS.unpack_from(directory, begin + NAME_LENGTH_AT)
        name_end = begin + HEADER_BYTES + name_length
        end = name_end + extra_length
        if end > len(directory):
            break
        blob_id = ids.get(directory[begin + HEADER_BYTES : name_end])
        if blob_id is None:
            packed.append(directory[begin:end])
        else:
            packed.append(add_id(directory[begin:end], blob_id))
            named += 1
        begin = end
    return b"".join(packed), named, directory[begin:]
