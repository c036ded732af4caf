"""Tar stream from `git cat-file --batch`, as `git archive` writes it if no attribute applies."""

import os
import tarfile
from collections.abc import AsyncIterator, Iterable
from stat import S_ISLNK
from typing import Final

from asyncbuild.git.formats.cat_file import parse_head
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.formats.tree_lines import TreeEntry

# tar.umask is 0002 by default (git-archive(1)), and a tree keeps only the owner's x
_FILE_MODE: Final = 0o664
_PROGRAM_MODE: Final = 0o775
_LINK_MODE: Final = 0o777
_OWNER_X: Final = 0o100
_LINK_BYTES_MOST: Final = 64 * 1024


async def no_blobs() -> AsyncIterator[bytes]:
    """Yield nothing, in place of the output of a git that has nothing to do."""
    return
    yield b""


async def write_tar(
    entries: Iterable[TreeEntry], stdout: AsyncIterator[bytes], *, time: int, above: bytes = b""
) -> AsyncIterator[bytes]:
    """Write members for `entries`, with the contents that `git cat-file --batch` prints for blobs.

    Args:
        entries: Blobs in the order in which git was asked for them.
        stdout: Output of git, read to its end, so that git's own errors are raised.
        time: Time of every member, in seconds since 1970.
        above: Prefix of every name, before the path of the entry.

    Raises:
        GitFailed: A blob is missing.
    """
    source = _BlobReader(stdout)
    size = 0
    async for piece in _iter_members(entries, source, time, above):
        size += len(piece)
        yield piece
    await source.finish()
    yield bytes(2 * tarfile.BLOCKSIZE + -(size + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)


async def _iter_members(
    entries: Iterable[TreeEntry], source: "_BlobReader", time: int, above: bytes
) -> AsyncIterator[bytes]:
    for entry in entries:
        member = tarfile.TarInfo(os.fsdecode(above + entry.path))
        member.mtime = time
        if entry.kind != "blob":
            member.type, member.mode = tarfile.DIRTYPE, _PROGRAM_MODE
            yield _pack(member)
            continue
        size = await source.begin(entry.object_id)
        if S_ISLNK(entry.mode):
            if size > _LINK_BYTES_MOST:
                raise GitFailed(f"{entry.path!r} is a link of {size} bytes", fault=GitFault.OTHER)
            target = b"".join([chunk async for chunk in source.content(size)])
            member.type, member.mode = tarfile.SYMTYPE, _LINK_MODE
            member.linkname = os.fsdecode(target)
            yield _pack(member)
            continue
        member.mode = _PROGRAM_MODE if entry.mode & _OWNER_X else _FILE_MODE
        member.size = size
        yield _pack(member)
        async for chunk in source.content(size):
            yield chunk
        if padding := -size % tarfile.BLOCKSIZE:
            yield bytes(padding)


def _pack(member: tarfile.TarInfo) -> bytes:
    """Return a header in GNU's form: names and sizes of any length, names of any bytes."""
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


class _BlobReader:
    """Parser of `<id> <type> <size> LF <content> LF` in chunks (git-cat-file(1), BATCH OUTPUT)."""

    def __init__(self, stdout: AsyncIterator[bytes]) -> None:
        self._stdout = stdout
        self._held = b""
        self._position = 0

    async def begin(self, object_id: str) -> int:
        """Return the size of the next blob in bytes.

        Raises:
            GitFailed: The next object is missing or another one.
        """
        while (end := self._held.find(b"\n", self._position)) < 0:
            self._held = self._held[self._position :] + await self._read()
            self._position = 0
        line = self._held[self._position : end]
        head = parse_head(line)
        if head is None or head[:2] != (object_id, "blob"):
            said = line.decode("ascii", "replace").split()
            raise GitFailed(
                f"git has no blob {object_id}: it said {said}", fault=GitFault.NO_OBJECT
            )
        self._position = end + 1
        return head.size

    async def content(self, size: int) -> AsyncIterator[bytes]:
        """Yield the content in pieces, and skip the line feed after it."""
        while size:
            piece = await self._take(size)
            size -= len(piece)
            yield piece
        await self._take(1)

    async def _take(self, most: int) -> bytes:
        if self._position == len(self._held):
            self._held, self._position = await self._read(), 0
        piece = self._held[self._position : self._position + most]
        self._position += len(piece)
        return piece

    async def finish(self) -> None:
        """Read to the end.

        Raises:
            GitFailed: Something follows, or git failed.
        """
        follows = self._position < len(self._held)
        async for _ in self._stdout:
            follows = True
        if follows:
            raise GitFailed("git wrote more than it was asked for", fault=GitFault.OTHER)

    async def _read(self) -> bytes:
        chunk = await anext(self._stdout, b"")
        if not chunk:
            raise GitFailed("git ended within a blob", fault=GitFault.OTHER)
        return chunk
