"""Protocols of the zip engine, for modules that put its streams into archives."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from asyncbuild.domain.model import Account
from asyncbuild.domain.statistics import ZipStatistics


class BlobIds(Protocol):
    """Object ids of the members of an archive."""

    async def find(self, paths: Sequence[bytes]) -> Sequence[bytes]:
        """Return the raw ids of all paths in tree order; an id is empty if no blob has that path.

        The result is empty if the ids are not known.
        """


class ZipOutput(Protocol):
    """Members first, then their central directory headers; `zip.engine.ZipStream` is one."""

    def iter_members(self) -> AsyncIterator[bytes]:
        """Return the bytes of the members, with their local headers."""

    def iter_headers(self) -> AsyncIterator[bytes]:
        """Return the central directory headers, once all members have passed."""

    def statistics(self) -> ZipStatistics:
        """Return the counts so far."""


class ZipEngine(Protocol):
    """Makes zip streams of tar streams; `zip.engine.Engine` is one."""

    def open_zip(
        self,
        tar: AsyncIterator[bytes],
        *,
        account: Account,
        blob_ids: BlobIds | None = None,
        offset: int = 0,
        without: Collection[bytes] = (),
        cut: int = 0,
    ) -> AbstractAsyncContextManager[ZipOutput]:
        """Return a context that reads `tar` as long as it is open.

        Args:
            tar: The tar stream.
            account: Pays for the memory.
            blob_ids: Finds the ids that go into the central directory; None writes none.
            offset: Length of the archive before the stream, in bytes.
            without: Raw paths of members to leave out.
            cut: Bytes to remove from the beginning of each name.
        """
