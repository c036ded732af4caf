"""Sizes, checksum and headers of a large member, from its blocks. Pure.

Its data descriptor has sizes of 32 or 64 bits. Some readers take the width from the local header
(zip64 extra field or none), which is written before the contents; others, such as Java's
ZipInputStream before JDK 23 (JDK-8303866), from the sizes that they have counted. All of them can
read the member only if both agree: the header is a zip64 one if, and only if, a size exceeds 32
bits in the end.

That is uncertain only for a file that itself fits in 32 bits but might exceed them once deflated.
Its header waits for the first block. If that block saves enough, the member is certain to fit. If
not, the deflated stream is made to exceed 32 bits, by adding empty blocks if needed: a file of
nearly 4 GiB whose beginning cannot be packed is then no shorter than if it were stored.
"""

from typing import Final

from asyncbuild.zip.format.deflate import crc32_combine, empty_blocks, largest_deflated
from asyncbuild.zip.format.records import StreamedEntry, dos_time
from asyncbuild.zip.format.tar_reader import LargeMember

MOST_32: Final = 0xFFFFFFFF


class LargeEntry:
    """Local header, blocks and data descriptor of one member.

    Args:
        member: The member's header in the tar stream.
        offset: Where its local header is in the archive, in bytes.
        block_bytes: Length of its blocks before they are deflated, except the last.
        most_32: The largest size that a field of 32 bits takes; smaller ones are for tests.
    """

    def __init__(
        self, member: LargeMember, offset: int, *, block_bytes: int, most_32: int = MOST_32
    ) -> None:
        self._member = member
        self._offset = offset
        self._block_bytes = block_bytes
        self._most_32 = most_32
        self._rest = member.size  # not deflated yet
        self._crc = 0
        self._compressed_size = 0
        self._streamed: StreamedEntry | None = None
        self.head = b""
        """The local header, or nothing if it has to wait for the first block."""
        if member.size > most_32 or self._largest(0) <= most_32:
            self._streamed, self.head = self._begin(is_zip64=member.size > most_32)

    def add(self, packed: bytes, crc: int, size: int) -> bytes:
        """Return the bytes to write for one more block.

        Args:
            packed: The deflated block.
            crc: CRC-32 of its contents.
            size: Length of its contents, in bytes.
        """
        self._rest -= size
        self._crc = crc32_combine(self._crc, crc, size)
        head = b""
        if self._streamed is None:
            fits = self._largest(len(packed)) <= self._most_32
            self._streamed, head = self._begin(is_zip64=not fits)
        padding = b""
        if self._streamed.is_zip64 and self._member.size <= self._most_32:
            # However well the rest packs, the total must stay above the limit. The empty blocks go
            # before this block, which may be the stream's last.
            padding = empty_blocks(self._most_32 + 1 - self._largest(len(packed)))
        self._compressed_size += len(padding) + len(packed)
        return b"".join((head, padding, packed))

    def finish(self) -> tuple[bytes, bytes]:
        """Return the central header and the data descriptor; to be called after the last block."""
        if self._streamed is None:
            raise AssertionError("a member without a block")
        return self._streamed.finish(
            crc=self._crc, compressed_size=self._compressed_size, offset=self._offset
        )

    def _largest(self, packed_bytes: int) -> int:
        """Return the greatest length the stream can have after `packed_bytes` more and the rest."""
        return (
            self._compressed_size + packed_bytes + largest_deflated(self._rest, self._block_bytes)
        )

    def _begin(self, *, is_zip64: bool) -> tuple[StreamedEntry, bytes]:
        member = self._member
        streamed = StreamedEntry(
            member.name,
            mode=member.mode,
            time=dos_time(member.mtime),
            size=member.size,
            is_zip64=is_zip64,
        )
        return streamed, streamed.pack_local()
