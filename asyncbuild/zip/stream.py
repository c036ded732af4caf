"""Protocols of the zip engine, for those who put its streams into archives."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from asyncbuild.domain.model import Account
from asyncbuild.domain.statistics import ZipStatistics


class BlobIds(Protocol):
    """Object ids of the members of an archive."""

    async def find(self, paths: Sequence[bytes]) -> Sequence[bytes]:
        """Return raw ids of all paths, in tree order, empty for what is no blob; or none."""


class ZipOutput(Protocol):
    """Members first, then their central directory headers; `zip.engine.ZipStream` is one."""

    def iter_members(self) -> AsyncIterator[bytes]:
        """Return the bytes of the members, with their local headers."""

    def iter_headers(self) -> AsyncIterator[bytes]:
        """Return the central directory headers, once all members have passed."""

    def statistics(self) -> ZipStatistics:
        """Return what has passed so far."""


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
        """Read `tar` for as long as the stream is open; see `Engine.open_zip`."""
