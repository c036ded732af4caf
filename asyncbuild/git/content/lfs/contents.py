"""The contents of a snapshot's large files, and how they come into its archive."""

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
            pointers: By the paths of their files, for people.
            url: Of the LFS server, if the commit names one.

        Raises:
            Reject: The server has not got one of them, or the server is not known.
            StageError: The server cannot be asked, or refuses.
        """

    def path(self, pointer: Pointer) -> Path:
        """Return the file with a content."""

    async def doubt(self, pointer: Pointer) -> None:
        """Take note that the file with a content turned out to hold something else.

        Raises:
            Reject: the content cannot be had from anywhere else.
        """


@dataclass(frozen=True, slots=True)
class Contents:
    """Contents that an archive has in place of pointers.

    Attributes:
        files: All pointers of the snapshot, by path: its stream is looked through for any of them.
        wanted: The paths that are certain to be in its archive, and so are fetched before it.
        objects: Where the contents are.
        url: Of the LFS server, if the commit names one.
    """

    files: Mapping[bytes, Pointer]
    wanted: Collection[bytes]
    objects: Objects
    url: str = ""

    async def bring(self, paths: Collection[bytes] = ()) -> None:
        """Make the contents present; of what is at or below `paths`, if there are any.

        Raises:
            StageError: see `Objects.bring`.
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
        """Fill a tar of the snapshot, or of a part of it, with contents in place of pointers."""
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
        """Return the file with a content; one that was not foreseen is fetched now."""
        if found.path not in self.wanted:
            await self.objects.bring({found.path: found.pointer}, url=self.url)
        return self.objects.path(found.pointer)


def _with_parents(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts) + 1)]
