"""Contents become a deflate stream (RFC 1951), by the fastest library there is for a level.

igzip, at the highest of its own levels, is more than twice as fast as zlib at level 1, and packs
better. Its two lower levels are faster still, but not deterministic (I8): what they make of short
contents varies from thread to thread. From level 4 on it is zlib-ng, about twice as fast as zlib.
Both let other threads run while they work.

The output depends on contents and level alone, as long as libraries and processor stay the same.
"""

from struct import Struct
from typing import Final

from isal import isal_zlib
from zlib_ng import zlib_ng

Content = bytes | memoryview

crc32: Final = isal_zlib.crc32
crc32_combine: Final = isal_zlib.crc32_combine

_RAW: Final = -15  # no zlib header, the largest window
_IGZIP: Final = 3  # its level, for all of ours up to that

# RFC 1951, 3.2.4: a stored block holds up to 65535 bytes and costs five: its type, and its length
# twice
_STORED_BLOCK: Final = Struct("<BHH")
_LARGEST_STORED: Final = 0xFFFF


def deflate(content: Content, level: int) -> bytes:
    """A deflate stream; the same one for the same contents, whatever was compressed before."""
    if level > _IGZIP:
        return zlib_ng.compress(content, level, _RAW)
    return isal_zlib.compress(content, _IGZIP, _RAW)


def deflate_block(data: bytes, level: int, *, last: bool) -> bytes:
    """A piece of a deflate stream that can follow any other and be followed by any other.

    It refers to nothing outside of itself and ends on a byte, so that pieces made in parallel can
    be joined. Never longer than `largest_deflated`.
    """
    stored = _stored_length(len(data))
    if level:
        library = isal_zlib if level <= _IGZIP else zlib_ng
        machine = library.compressobj(max(level, _IGZIP), library.DEFLATED, _RAW)
        packed: bytes = machine.compress(data)
        packed += machine.flush(library.Z_FINISH if last else library.Z_SYNC_FLUSH)
        if len(packed) < stored:
            return packed
    return _store(data, last=last)


def largest_deflated(size: int, block_bytes: int) -> int:
    """Length of a deflate stream of `size` bytes, made of blocks, none of which could be packed."""
    whole, rest = divmod(size, block_bytes)
    return whole * _stored_length(block_bytes) + (_stored_length(rest) if rest else 0)


def _stored_length(size: int) -> int:
    return size + _STORED_BLOCK.size * -(-size // _LARGEST_STORED)


def _store(data: bytes, *, last: bool) -> bytes:
    pieces: list[bytes] = []
    for begin in range(0, len(data), _LARGEST_STORED):
        piece = data[begin : begin + _LARGEST_STORED]
        final = last and begin + len(piece) == len(data)
        pieces += (_STORED_BLOCK.pack(final, len(piece), len(piece) ^ _LARGEST_STORED), piece)
    return b"".join(pieces)
