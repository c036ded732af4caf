"""Blob ids for the directory of an archive made in full, as far as it will be of use to another."""

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


_Lines = list[bytes]  # of git ls-tree
_AHEAD: Final = 4  # batches that are read before they are asked for
_EARLY_MOST: Final = 20_000  # paths that wait for git


@asynccontextmanager
async def open_tree_ids(
    iter_lines: Callable[[], AsyncGenerator[_Lines, None]], *, at_once: bool = False
) -> AsyncIterator["TreeIds"]:
    """Own the git that lists the tree; it begins when it is wanted, or at once."""
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
            except Exception as error:  # noqa: BLE001 - raised by whoever asks for an id
                await sender.send(error)

    async with receiver, open_background() as tasks:
        tasks.start_soon(read_ahead)
        yield ids


class TreeIds:
    """Blob ids of a tree for its archive, which names its members in the same order (`BlobIds`).

    Nothing is made of an archive of less than 5 MiB. So git is not asked before there are as many
    or are sure to be, and nothing waits until it answers: what had no id when it was written gets
    it on its way out (`iter_archive`), which takes longer.
    """

    def __init__(self, batches: MemoryObjectReceiveStream[_Lines | Exception]) -> None:
        self.wanted = anyio.Event()
        self._batches = batches
        self._names: list[bytes] = []  # of a batch, as an archive calls them
        self._ids: list[bytes] = []  # of the same, raw; empty for what is no blob
        self._next = 0  # of the two
        self._zip_bytes: Callable[[], int] = int
        self._begun = False
        self._early: list[bytes] = []
        self._early_ids: Mapping[bytes, bytes] = {}
        self.attributes: dict[bytes, tuple[int, str]] = {}

    def follow(self, zip_bytes: Callable[[], int]) -> None:
        """Learn how to find out how long the archive is so far."""
        self._zip_bytes = zip_bytes

    async def find(self, paths: Sequence[bytes]) -> Sequence[bytes]:
        """Raw ids, empty for what is no blob; none at all before git answers.

        Raises:
            Retry: The tree has no such entry, or not there.
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
        """Raw ids of those blobs that came before git answered, by path.

        Raises:
            Retry: as `find`.
        """
        if not self._begun:
            self._begun = True
            self.wanted.set()
            ids = zip(self._early, await self._find(self._early), strict=True)
            self._early_ids = {path: blob_id for path, blob_id in ids if blob_id}
        return self._early_ids

    async def _find(self, paths: Sequence[bytes]) -> list[bytes]:
        """Mostly the next so many entries, unless the archive leaves some out."""
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
        """The id of the next entry of this name."""
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
        """Look at what the archive left out: its attributes count all the same."""
        while await self._read():
            pass

    async def _read(self) -> bool:
        """The next batch: what was before it is not asked for any more."""
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
    """Headers cut anywhere, with ids for the first ones; what they grow by is taken."""
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
    """Put ids into central headers, as long as they are not more than `most`.

    Returns:
        The headers looked at, how many of them got an id, and what follows.
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
