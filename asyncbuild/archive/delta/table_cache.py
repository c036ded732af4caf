"""Cache of archives' tables beside the mirror, so that they need not be read from S3 again.

A file appears whole, by a rename, under a name that contains the archive's ETag; its head has a
checksum. There are never more than a few, and they are deleted with the mirror.
"""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread
from isal.isal_zlib import crc32

from asyncbuild.archive.delta.planning.entry_table import (
    HEAD_BYTES,
    BrokenTable,
    CentralDirectory,
    pack_head,
    parse_file,
)
from asyncbuild.runtime.write_all import write_all

_MOST: Final = 4
_SUFFIX: Final = ".table"
_UNFINISHED: Final = ".part"
_UNFINISHED_NS: Final = 24 * 3600 * 10**9  # no archive takes as long


class Tables:
    """Tables in one directory.

    Args:
        directory: Created at its first use; None keeps nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    async def load(self, name: str) -> CentralDirectory | None:
        """Return the directory of an archive, if it is here and whole."""
        if self._directory is None:
            return None
        path = self._directory / name
        try:
            return parse_file(await to_thread.run_sync(path.read_bytes))
        except (OSError, BrokenTable):
            return None

    async def alias(self, name: str, other: str) -> None:
        """Link the table `name`, if it is here, to `other`, too, which names a copied archive."""
        if self._directory is not None:
            with suppress(OSError):
                await to_thread.run_sync(os.link, self._directory / name, self._directory / other)

    @contextmanager
    def open_writer(self) -> Iterator["TableWriter"]:
        """Write a table whose archive has no name yet; it is kept only if it is finished."""
        writer = TableWriter(self._directory)
        try:
            yield writer
        finally:
            writer.close()


def table_name(key: str, etag: str) -> str:
    """Return the file name for an archive, which differs for each ETag."""
    return hashlib.sha256(f"{key}\n{etag}".encode()).hexdigest()[:40] + _SUFFIX


class TableWriter:
    """Writer of a directory, piece by piece; a file error only costs the file."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._path = directory / f"{uuid.uuid4().hex}{_UNFINISHED}" if directory else None
        self._crc = 0
        self._file: int | None = None
        self.nbytes = 0

    async def append(self, piece: bytes) -> None:
        """Append the next headers."""
        self.nbytes += len(piece)
        if self._path is not None:
            self._crc = crc32(piece, self._crc)
            await to_thread.run_sync(self._write, piece)

    async def finish(self, name: str, *, offset: int) -> None:
        """Keep the file under `name`; the directory begins at `offset` of its archive."""
        if self._path is not None:
            with anyio.CancelScope(shield=True):  # a rename takes no time
                await to_thread.run_sync(self._publish, name, offset)

    def close(self) -> None:
        """Close and delete an unfinished file."""
        with suppress(OSError):
            if self._file is not None:
                os.close(self._file)
                self._file = None
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _write(self, piece: bytes) -> None:
        if self._path is None:
            return
        try:
            if self._file is None:
                self._path.parent.mkdir(exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._file = os.open(self._path, flags, 0o600)
                os.lseek(self._file, HEAD_BYTES, os.SEEK_SET)
            write_all(partial(os.write, self._file), piece)
        except OSError:
            self.close()
            self._path = None

    def _publish(self, name: str, offset: int) -> None:
        if self._path is None or self._file is None or self._directory is None:
            return
        try:
            os.pwrite(self._file, pack_head(offset, self.nbytes, self._crc), 0)
            self._path.rename(self._directory / name)
            _prune(self._directory)
        except OSError:
            return


def _prune(directory: Path) -> None:
    """Keep the newest few tables, and unfinished ones that another task may still be writing.

    Another task may do the same at this moment.
    """
    with os.scandir(directory) as entries:
        ages = sorted((entry.stat().st_mtime_ns, entry.name) for entry in entries)
    whole = [name for _, name in ages if name.endswith(_SUFFIX)]
    oldest_ns = ages[-1][0] - _UNFINISHED_NS
    killed = [name for age, name in ages if name.endswith(_UNFINISHED) and age < oldest_ns]
    for name in (*whole[:-_MOST], *killed):
        (directory / name).unlink(missing_ok=True)
