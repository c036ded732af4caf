"""Working trees of `.gitattributes` alone: written to the disk, and checked there."""

import errno
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Final, NamedTuple

import anyio
from anyio import to_thread

from asyncbuild.git.formats.gitattributes import converts
from asyncbuild.git.mirrors.disk_space import delete
from asyncbuild.runtime.locks import hold_nowait, take_nowait

_DIRECTORY: Final = "worktrees-"
_LOCK: Final = "lock"
_TRIES: Final = 10


class AttributeFiles(NamedTuple):
    """A working tree that is lent, and whether its attributes may convert files of an archive."""

    path: Path
    converts: bool


@dataclass(slots=True)
class Worktree:
    """A working tree and the facts about its files."""

    digest: str
    path: Path
    sizes: Mapping[Path, int]  # of its files
    converts: bool
    users: int = 0
    looked_at: float = float("-inf")
    looking: anyio.Lock = field(default_factory=anyio.Lock)

    async def is_whole(self, trusted_seconds: float) -> bool:
        """Return whether everything is still there, or was seen less than `trusted_seconds` ago."""
        async with self.looking:
            now = anyio.current_time()
            if now >= self.looked_at + trusted_seconds:
                if not await to_thread.run_sync(self._look):
                    return False
                self.looked_at = now
        return True

    def _look(self) -> bool:
        try:
            sizes = {path: path.stat().st_size for path in self.sizes}
        except OSError:
            return False
        return sizes == self.sizes and self.path.is_dir()


@asynccontextmanager
async def open_directory(above: Path) -> AsyncIterator[Path]:
    """Make a directory for one process, and delete it at the end; first delete leftover ones.

    It is locked as long as its process lives.

    Raises:
        OSError: It cannot be made.
    """
    directory, lock = await to_thread.run_sync(_make_directory, above)
    try:
        yield directory
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(delete, directory)
        os.close(lock)


def _make_directory(above: Path) -> tuple[Path, int]:
    for left in above.glob(f"{_DIRECTORY}*"):
        with suppress(OSError), hold_nowait(left / _LOCK) as alone:
            if alone:
                delete(left)
    for _ in range(_TRIES):
        directory = Path(mkdtemp(dir=above, prefix=_DIRECTORY)).resolve()
        # Before it is locked, another process that starts may take it for a leftover.
        with suppress(FileNotFoundError):
            lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            if take_nowait(lock, shared=False) and (directory / _LOCK).exists():
                return directory, lock
            os.close(lock)
    raise OSError(errno.EBUSY, "other processes delete it again and again")


def write_worktree(digest: str, worktree: Path, files: Mapping[bytes, bytes]) -> Worktree:
    """Write files into a new working tree. It blocks.

    Args:
        digest: Digest of the files.
        worktree: Path of the new working tree.
        files: Contents by path.
    """
    worktree.mkdir(parents=True)
    sizes = {}
    for name, content in files.items():
        path = worktree / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sizes[path] = len(content)
    return Worktree(digest, worktree, sizes, converts(files.values()))
