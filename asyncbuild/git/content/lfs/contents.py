"""Contents of a snapshot's large files, and their way into its archive."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from asyncbuild.git.content.lfs.tar_filter import Found, PointerScan, WrongContent, with_contents
from asyncbuild.git.formats.lfs_pointers import Pointer


class Objects(Protocol):
    """Store of the contents of one repository's large files."""

    async def bring(self, pointers: Mapping[bytes, Pointer], *, url: str) -> None:
        """Make sure that all of these are here.

        Args:
            pointers: Pointers by the paths of their files, which errors name.
            url: URL of the LFS server, if the commit names one.

        Raises:
            Reject: The server lacks one of them, or no server is known.
            StageError: The server cannot be asked, or refuses.
        """

    def path(self, pointer: Pointer) -> Path:
        """Return the path of the file with a content."""

    async def doubt(self, pointer: Pointer) -> None:
        """Record that the file with a content holds something else.

        Raises:
            Reject: The content has only this source.
        """


@dataclass(frozen=True, slots=True)
class Contents:
    """Contents that replace pointers in an archive.

    Attributes:
        files: All pointers of the snapshot, by path: its stream is searched for any of them.
        wanted: The paths that are certain to be in its archive, and so are fetched before it.
        objects: Store of the contents.
        url: URL of the LFS server, if the commit names one.
    """

    files: Mapping[bytes, Pointer]
    wanted: Collection[bytes]
    objects: Objects
    url: str = ""

    async def bring(self, paths: Collection[bytes] = ()) -> None:
        """Make the contents present; if `paths` are given, only those at or below them.

        Raises:
            StageError: See `Objects.bring`.
        """
        among = frozenset(paths)
        asked = {
            path: self.files[path]
            for path in self.wanted
            if not among or not among.isdisjoint(_with_parents(path))
        }
        if asked:
            await self.objects.bring(asked, url=self.url)

    def open_filled(
        self, tar: AsyncIterator[bytes], prefix: bytes = b""
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Return a context with a tar of the snapshot, or of a part, with pointers replaced."""
        return aclosing(self._fill(tar, prefix))

    async def _fill(self, tar: AsyncIterator[bytes], prefix: bytes) -> AsyncGenerator[bytes, None]:
        scan = PointerScan(self.files, prefix)
        try:
            async with aclosing(with_contents(tar, scan, self._open)) as filled:
                async for chunk in filled:
                    yield chunk
        except WrongContent as error:
            await self.objects.doubt(error.pointer)
            raise

    async def _open(self, found: Found) -> Path:
        """Return the file for a pointer; fetch it if the pointer was not expected there."""
        if found.path not in self.wanted:
            await self.objects.bring({found.path: found.pointer}, url=self.url)
        return self.objects.path(found.pointer)


def _with_parents(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts) + 1)]
