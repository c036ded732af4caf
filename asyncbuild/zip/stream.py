"""Options and protocols of zip streams, for code that puts them into archives."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from asyncbuild.domain.model import Account
from asyncbuild.domain.statistics import ZipStatistics


class BlobIds(Protocol):
    """Object ids of the members of an archive."""

    async def find(self, paths: Sequence[bytes]) -> Sequence[bytes]:
        """Return the raw ids of all paths in tree order; an id is empty if no blob has that path.

        The result is empty if the ids are not known.
        """


@dataclass(frozen=True, slots=True)
class ZipOptions:
    """Relation of a zip stream to its tar, and to an archive that it continues.

    Attributes:
        blob_ids: Asked for raw object ids by path, to be kept in the directory.
        offset: Length in bytes of the archive before the stream.
        without: Paths of directories that the archive has already.
        cut: Bytes to remove from the beginning of each path; directories above are left out.
    """

    blob_ids: BlobIds | None = None
    offset: int = 0
    without: Collection[bytes] = ()
    cut: int = 0


PLAIN: Final = ZipOptions()


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
        options: ZipOptions = PLAIN,
    ) -> AbstractAsyncContextManager[ZipOutput]:
        """Return a context that reads `tar` as long as it is open.

        Args:
            tar: The tar stream.
            account: Pays for the memory.
            options: What the stream holds of it.
        """
