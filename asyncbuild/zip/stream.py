"""What a stream of zip bytes offers to those who put it into an archive."""

from collections.abc import AsyncIterator
from typing import Protocol

from asyncbuild.domain.statistics import ZipStatistics


class ZipOutput(Protocol):
    """Members first, then their central directory headers; `zip.engine.ZipStream` is one."""

    def iter_members(self) -> AsyncIterator[bytes]:
        """Return the bytes of the members, with their local headers."""

    def iter_headers(self) -> AsyncIterator[bytes]:
        """Return the central directory headers, once all members have passed."""

    def statistics(self) -> ZipStatistics:
        """Return what has passed so far."""
