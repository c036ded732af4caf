"""Parts of an upload: their sizes, and the bytes of each as a body that can be sent again.

Limits (S3 user guide, "Amazon S3 multipart upload limits"): at most 10,000 parts, each of 5 MiB to
5 GiB; the last one may be smaller.
"""

import base64
import io
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from mmap import MAP_ANONYMOUS, MAP_POPULATE, MAP_PRIVATE, mmap
from typing import Final

from isal.isal_zlib import crc32

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
LEAST_PART_BYTES: Final = 5 * MIB
MOST_PART_BYTES: Final = 5 * GIB
MOST_PARTS: Final = 10_000

_EVEN_PARTS = 5_000  # the first parts, which have the size that was set
_DOUBLING_PARTS = 500  # then the size doubles after every so many
_SEGMENT_BYTES = 1 * MIB
_OWN = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE  # private to this process, resident at once
_WRITTEN_BYTES = 256 * 1024  # per write: asyncio copies bytes that the socket does not take

Piece = bytes | memoryview


def part_bytes(number: int, first_bytes: int) -> int:
    """Return the bytes for part `number` (from 1), where the first has `first_bytes`.

    A part is in memory until it is sent, so growth is late: with the default of 8 MiB all parts
    are equal up to 39 GiB, and 10,000 parts hold 8.6 TB; with the least, 5 MiB, they hold 5.3 TB.
    The largest possible object, 50 TB, needs parts of 4.7 GiB from the first on: no plan that
    begins small reaches it, and the operator who sets that size must grant the memory for it.
    """
    doublings = max(0, number - _EVEN_PARTS - 1 + _DOUBLING_PARTS) // _DOUBLING_PARTS
    return int(min(first_bytes << doublings, MOST_PART_BYTES))


class Buffer:
    """Bytes that arrived and have not been cut into parts yet.

    They wait for as long as S3 takes, and are copied into segments of one size: measured, with
    chunks of all sizes kept instead, the C library's heap had as many bytes in gaps between them,
    where nothing else fitted, as in use. One copy of compressed bytes costs next to nothing.
    """

    def __init__(self) -> None:
        self._segments: deque[memoryview] = deque()  # all full, except the last
        self._room = memoryview(b"")  # free space of the last segment
        self.size_bytes = 0

    def append(self, chunk: Piece) -> None:
        """Add bytes at the end."""
        view = memoryview(chunk)
        self.size_bytes += len(view)
        while view:
            if not self._room:
                self._room = memoryview(mmap(-1, _SEGMENT_BYTES, flags=_OWN))
                self._segments.append(self._room)
            taken = min(len(view), len(self._room))
            self._room[:taken] = view[:taken]
            self._room, view = self._room[taken:], view[taken:]

    def cut(self, nbytes: int) -> "Body":
        """Take `nbytes` from the front; fewer if the buffer has fewer."""
        pieces: list[Piece] = []
        left = min(nbytes, self.size_bytes)
        self.size_bytes -= left
        while left:
            segment = self._segments.popleft()
            if len(segment) > left:
                self._segments.appendleft(segment[left:])
            pieces.append(segment[:left])
            left -= len(pieces[-1])
        return Body(pieces)


class Body:
    """Bytes of one request, in pieces, in the forms that botocore and aiohttp prefer.

    aiohttp iterates and writes piece by piece, without joining them and without holding up the
    loop for a whole part; botocore measures with `len`, rewinds with `seek` before it sends again,
    and reads only to sign.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self.size_bytes = sum(map(len, pieces))
        self._position = 0

    def __len__(self) -> int:
        return self.size_bytes

    def __bool__(self) -> bool:
        return True  # an empty body still is a body

    async def __aiter__(self) -> AsyncIterator[Piece]:
        for piece in self.pieces:
            for begin in range(0, len(piece), _WRITTEN_BYTES):
                yield memoryview(piece)[begin : begin + _WRITTEN_BYTES]

    def close(self) -> None:
        """Free the bytes, once nothing sends them any more.

        The traceback of a request that failed holds its body, until garbage is collected: that is
        rarely, and the account has its bytes back already.
        """
        self.pieces = ()

    def tell(self) -> int:
        """Return the position at which `read` goes on."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; return it, counted from the beginning."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}[whence]
        self._position = min(max(0, start + offset), self.size_bytes)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` bytes, or all that follow."""
        wanted = self.size_bytes if size is None or size < 0 else size
        begin, end = self._position, min(self._position + wanted, self.size_bytes)
        found = []
        offset = 0
        for piece in self.pieces:
            if offset < end and offset + len(piece) > begin:
                found.append(memoryview(piece)[max(0, begin - offset) : end - offset])
            offset += len(piece)
        self._position = end
        return b"".join(found)


@contextmanager
def closing_on_error(body: Body) -> Iterator[None]:
    """Free the bytes of a body if the block fails."""
    try:
        yield
    except BaseException:
        body.close()
        raise


def checksum_of(body: Body) -> str:
    """Return the CRC-32 of a part in the form of S3: four bytes, big-endian, in base64."""
    value = 0
    for piece in body.pieces:
        value = crc32(piece, value)
    return base64.b64encode(value.to_bytes(4, "big")).decode("ascii")
