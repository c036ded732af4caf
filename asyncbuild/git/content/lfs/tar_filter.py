"""A tar stream with pointers in, one with the contents out.

`git archive` could do this by git-lfs's filter. It would hold each content in memory, whole, and
fetch one after the other while the archive waits; so the contents are fetched before, and read
here, a piece at a time (I6).
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tarfile import BLOCKSIZE, RECORDSIZE
from typing import Final

import aiofiles
from anyio import to_thread

from asyncbuild.domain.errors import Retry
from asyncbuild.git.formats.lfs_pointers import POINTER_BYTES_MOST, Pointer

_KIND: Final = 156  # POSIX.1-2017, pax(1), ustar
_FILE: Final = ord("0")
_DIRECTORY: Final = ord("5")
_PAX: Final = ord("x")
_GNU_NAME: Final = ord("L")
_GNU_LINK: Final = ord("K")
_SIZE: Final = slice(124, 136)
_SUM: Final = slice(148, 156)
_PREFIX: Final = slice(345, 500)
_OCTAL_MOST: Final = 8**11  # longer ones are written in base 256, as GNU tar does
_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """A pointer's place in the stream: `header` goes before the content, in place of its own."""

    path: bytes
    header: bytes
    pointer: Pointer


class WrongContent(Retry):
    """The file with a content does not hold what its pointer says."""

    def __init__(self, reason: str, pointer: Pointer) -> None:
        super().__init__(reason)
        self.pointer = pointer


class PointerScan:
    """Cuts a tar stream where a pointer stands; everything else is passed on as it is.

    Args:
        pointers: By their paths in the tree.
        prefix: What the stream has before each path.
    """

    def __init__(self, pointers: Mapping[bytes, Pointer], prefix: bytes = b"") -> None:
        self._pointers = pointers
        self._prefix = prefix
        self._held = b""  # the beginning of a member
        self._passing = 0  # bytes of a large member that have not come yet

    def feed(self, data: bytes) -> Iterator[bytes | Found]:
        """Take the next bytes; give what is decided."""
        data = self._held + data
        begin = position = min(self._passing, len(data))
        self._passing -= position
        begin = 0
        while (unit := _measure(data, position)) is not None:
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

    def finish(self) -> bytes:
        """What is left: a beginning that nothing followed. Whoever reads the stream will say so."""
        return self._held

    def _find(self, data: bytes, begin: int, unit: "_Unit") -> Found | None:
        if unit.kind != _FILE or unit.size > POINTER_BYTES_MOST:
            return None
        path = unit.path or _name(data[unit.header : unit.header + BLOCKSIZE])
        if not path.startswith(self._prefix):
            return None
        path = path[len(self._prefix) :]
        pointer = self._pointers.get(path)
        if pointer is None:
            return None
        extended = data[begin : unit.header]
        header = data[unit.header : unit.header + BLOCKSIZE]
        return Found(path, extended + _resized(header, pointer.size), pointer)


def directories_of(tar: bytes) -> set[bytes]:
    """Paths of the directories in a whole tar, of a tar of nothing but a global header, too."""
    found: set[bytes] = set()
    position = 0
    while (unit := _measure(tar, position)) is not None:
        if unit.kind == _DIRECTORY:
            path = unit.path or _name(tar[unit.header : unit.header + BLOCKSIZE])
            found.add(path.rstrip(b"/"))
        position = unit.end
    return found


@dataclass(slots=True)
class _Unit:
    """A member: where its own header is, where it ends, and what extended headers say of it."""

    header: int
    end: int
    kind: int
    size: int
    path: bytes


def _measure(data: bytes, position: int) -> _Unit | None:
    """The member that begins here; None if more is needed to tell. Small ones must be whole."""
    path = b""
    size = -1
    while position + BLOCKSIZE <= len(data):
        kind = data[position + _KIND]
        content = position + BLOCKSIZE
        length = _number(data[position:content][_SIZE])
        if kind not in {_PAX, _GNU_NAME, _GNU_LINK}:
            length = max(length, size)
            end = content + length + -length % BLOCKSIZE
            whole = end <= len(data) or length > POINTER_BYTES_MOST
            return _Unit(position, end, kind, length, path) if whole else None
        extension = data[content : content + length]
        position = content + length + -length % BLOCKSIZE
        if kind == _PAX and position <= len(data):
            records = _records(extension)
            path = records.get(b"path", path)
            size = int(records.get(b"size", size))
        elif kind == _GNU_NAME:
            path = extension.rstrip(b"\0")
    return None


def _number(field: bytes) -> int:
    if field[0] == 0x80:  # noqa: PLR2004 - base 256 and not negative
        return int.from_bytes(field[1:], "big")
    return int(field.rstrip(b"\0 ") or b"0", 8)


def _records(content: bytes) -> dict[bytes, bytes]:
    """`length key=value newline`; whoever reads the stream checks them closely."""
    records = {}
    while content:
        length = int(content.partition(b" ")[0])
        key, _, value = content[:length].partition(b" ")[2].partition(b"=")
        records[key] = value[:-1]
        content = content[length:]
    return records


def _name(header: bytes) -> bytes:
    name, prefix = header[:100].rstrip(b"\0"), header[_PREFIX].rstrip(b"\0")
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _resized(header: bytes, size: int) -> bytes:
    """The same header for a content of another length."""
    written = bytearray(header)
    octal = size < _OCTAL_MOST
    written[_SIZE] = b"%011o\0" % size if octal else b"\x80" + size.to_bytes(11, "big")
    written[_SUM] = b" " * 8
    written[_SUM] = b"%07o\0" % sum(written)
    return bytes(written)


async def with_contents(
    tar: AsyncIterator[bytes], scan: PointerScan, open_content: Callable[[Found], Awaitable[Path]]
) -> AsyncGenerator[bytes, None]:
    """The stream with the contents in their places.

    Args:
        tar: What git wrote.
        scan: Which of its members are pointers.
        open_content: Gives the file with a content.

    Raises:
        Retry: a content is not what it should be.
        StageError: it cannot be had.
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
    # A tar is so many whole records, also where another one is to follow.
    yield rest + bytes(-(total + len(rest)) % RECORDSIZE)


async def _iter_content(path: Path, found: Found) -> AsyncIterator[bytes]:
    """The content, hashed on its way: an archive that got anything else is never finished."""
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
    if padding := -size % BLOCKSIZE:
        yield bytes(padding)
