"""Files with contents of LFS objects, hashed before they are trusted.

A power failure can leave a file with its length and zeros in place of its content, so neither name
nor length proves a content. Hashing each content for each archive would read it twice; so a file
that this process has verified, and that has not changed since, is not hashed again before it is
used. It is hashed while it is read in any case (`tar_filter.py`).
"""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from asyncbuild.git.formats.lfs_pointers import Pointer
from asyncbuild.runtime.recent import Recent

CHUNK_BYTES = 256 * 1024
_REMEMBERED_MOST = 100_000


@dataclass(frozen=True, slots=True)
class MissingContent:
    """A content that is not here: its pointer, its file in the tree, and its places on disk."""

    pointer: Pointer
    file: str
    target: Path
    part: Path


class _Seen(NamedTuple):
    """A file as it was when it was verified; every write to it changes its time."""

    inode: int
    size: int
    changed_ns: int


class Verified:
    """Files that this process has verified."""

    def __init__(self) -> None:
        self._seen: Recent[str, _Seen] = Recent(_REMEMBERED_MOST)

    def use(self, path: Path, pointer: Pointer) -> bool:
        """Mark a content as used now; return False if it is missing or another content.

        Raises:
            OSError: The file cannot be read.
        """
        try:
            seen = _look(path)
            if seen.size != pointer.size:
                return False
            if self._seen.get(str(path)) != seen and hash_of(path) != pointer.oid:
                return False
            now = time.time_ns()
            os.utime(path, ns=(now, now))
            self._seen[str(path)] = _look(path)
        except FileNotFoundError:
            return False
        return True

    def forget(self, path: Path) -> None:
        """Make `use` hash the file before it is used again."""
        self._seen.pop(str(path), None)


def _look(path: Path) -> _Seen:
    found = path.stat()
    return _Seen(found.st_ino, found.st_size, found.st_mtime_ns)


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for chunk in chunks_of(file):
            digest.update(chunk)
    return digest.hexdigest()


def chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of a file, in pieces of up to 256 KiB."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def open_private(path: Path, *, keep: bool) -> IO[bytes]:
    """Open a file that only this user can read, for reading and writing, emptied unless `keep`.

    Raises:
        OSError: It cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if keep else os.O_TRUNC)
    descriptor = os.open(path, flags, 0o600)
    file = os.fdopen(descriptor, "r+b", buffering=0)
    os.fchmod(descriptor, 0o600)  # earlier versions used the umask's mode
    return file
