"""Filter of a tar stream that replaces LFS pointers by their contents.

`git archive` could do this by git-lfs's filter. It would hold each content in memory, whole, and
fetch one after the other while the archive waits; so the contents are fetched before, and read
here, a piece at a time (I6).
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiofiles
from anyio import to_thread

from asyncbuild.domain.errors import Retry
from asyncbuild.git.formats.lfs_pointers import POINTER_BYTES_MOST, Pointer
from asyncbuild.zip.format.tar_headers import BLOCK_BYTES, FILE, RECORD_BYTES, SIZE, SUM
from asyncbuild.zip.format.tar_units import TarUnit, find_unit

_OCTAL_MOST: Final = 8**11  # greater sizes are written in base 256, as GNU tar does
_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """Place of a pointer in the stream: `header` replaces its own, with the content's size."""

    path: bytes
    header: bytes
    pointer: Pointer


class WrongContent(Retry):
    """The file with a content does not match its pointer."""

    def __init__(self, reason: str, pointer: Pointer) -> None:
        super().__init__(reason)
        self.pointer = pointer


class PointerScan:
    """Cuts a tar stream at pointers; everything else is passed on unchanged.

    Args:
        pointers: Pointers by their paths in the tree.
        prefix: Prefix of each path in the stream.
    """

    def __init__(self, pointers: Mapping[bytes, Pointer], prefix: bytes = b"") -> None:
        self._pointers = pointers
        self._prefix = prefix
        self._held = b""  # the beginning of a member
        self._offset = 0  # position of `_held` in the stream
        self._passing = 0  # bytes of a large member that are still to come

    def feed(self, data: bytes) -> Iterator[bytes | Found]:
        """Take the next bytes; yield those that are complete, and pointers."""
        data = self._held + data
        begin = position = min(self._passing, len(data))
        self._passing -= position
        begin = 0
        while unit := find_unit(data, position, held_bytes=POINTER_BYTES_MOST, origin=self._offset):
            found = self._find(data, position, unit)
            if found is not None:
                yield data[begin:position]
                yield found
                begin = unit.end
            position = min(unit.end, len(data))
            self._passing = unit.end - position
        if begin < position:
            yield data[begin:position]
        self._held = data[position:]
        self._offset += position

    def finish(self) -> bytes:
        """Return the rest, an incomplete member; the reader of the stream reports it."""
        return self._held

    def _find(self, data: bytes, begin: int, unit: TarUnit) -> Found | None:
        if unit.kind != FILE or unit.size > POINTER_BYTES_MOST:
            return None
        path = unit.name(data)
        if not path.startswith(self._prefix):
            return None
        path = path[len(self._prefix) :]
        pointer = self._pointers.get(path)
        if pointer is None:
            return None
        extended = data[begin : unit.header]
        header = data[unit.header : unit.header + BLOCK_BYTES]
        return Found(path, extended + _resized(header, pointer.size), pointer)


def _resized(header: bytes, size: int) -> bytes:
    """Return a header with another length of its content, in bytes."""
    written = bytearray(header)
    octal = size < _OCTAL_MOST
    written[SIZE] = b"%011o\0" % size if octal else b"\x80" + size.to_bytes(11, "big")
    written[SUM] = b" " * 8
    written[SUM] = b"%07o\0" % sum(written)
    return bytes(written)


async def with_contents(
    tar: AsyncIterator[bytes], scan: PointerScan, open_content: Callable[[Found], Awaitable[Path]]
) -> AsyncGenerator[bytes, None]:
    """Yield the stream with contents in place of pointers.

    Args:
        tar: Output of git.
        scan: Finds the pointers.
        open_content: Returns the path of the file with a content.

    Raises:
        Retry: A content does not match its pointer.
        StageError: A content cannot be fetched.
    """
    total = 0
    async for data in tar:
        for piece in scan.feed(data):
            if isinstance(piece, bytes):
                total += len(piece)
                yield piece
                continue
            total += len(piece.header)
            yield piece.header
            async for chunk in _iter_content(await open_content(piece), piece):
                total += len(chunk)
                yield chunk
    rest = scan.finish()
    # A tar ends at a whole record, also if another one follows.
    yield rest + bytes(-(total + len(rest)) % RECORD_BYTES)


async def _iter_content(path: Path, found: Found) -> AsyncIterator[bytes]:
    """Yield the content, hashed on its way: the archive fails if the hash differs.

    Raises:
        WrongContent: The file cannot be read, is too short, or has another hash.
    """
    size = found.pointer.size
    if not size:
        return
    left, digest = size, hashlib.sha256()
    try:
        async with aiofiles.open(path, "rb", buffering=0) as file:
            while left and (chunk := await file.read(min(_CHUNK_BYTES, left))):
                left -= len(chunk)
                await to_thread.run_sync(digest.update, chunk)
                yield chunk
    except OSError as error:
        reason = f"LFS object {found.pointer.oid} cannot be read: {error.strerror}"
        raise WrongContent(reason, found.pointer) from error
    if left:
        reason = f"LFS object {found.pointer.oid} is {left} bytes shorter than {size}"
        raise WrongContent(reason, found.pointer)
    if digest.hexdigest() != found.pointer.oid:
        reason = f"the file of LFS object {found.pointer.oid} holds something else"
        raise WrongContent(reason, found.pointer)
    if padding := -size % BLOCK_BYTES:
        yield bytes(padding)
