"""Compression of contents to deflate streams (RFC 1951), by the fastest library for each level.

Up to level 3 that is igzip, two to four times as fast as zlib at level 1, and packing better; from
level 4 on it is zlib-ng, about twice as fast as zlib.

igzip's own levels 1 and 2 are not deterministic (I8) at the first byte of a stream: there they use
the contents of an uninitialised register as the hash of the data (igzip_icf_body_h1_gr_bt.asm,
`.write_first_byte`). A stream with a dictionary does not run that code. So the first bytes of a
content are stored, and serve as the dictionary of the rest.

The output depends on contents and level alone, as long as libraries and processor stay the same.
"""

from struct import Struct
from typing import Final

from isal import isal_zlib
from zlib_ng import zlib_ng

Content = bytes | memoryview

crc32: Final = isal_zlib.crc32
crc32_combine: Final = isal_zlib.crc32_combine

FASTEST_LEVELS: Final = 3  # up to here igzip is used; it is also igzip's highest level
LEAST_DEFLATED_BYTES: Final = 64  # a smaller file shrinks by less than a tenth

_RAW: Final = -15  # no zlib header, the largest window
_IGZIP_FAST: Final = 2  # for our levels 1 and 2
_TINY_BYTES: Final = 256  # below, zlib-ng's level 1 packs about as well in half the time
_SHORT_BYTES: Final = 1024  # below, storing the first bytes costs more than the fast level gains
_FIRST_BYTES: Final = 8

# RFC 1951, 3.2.4: a stored block holds up to 65535 bytes and costs five: its type, and its length
# twice
_STORED_BLOCK: Final = Struct("<BHH")
_LARGEST_STORED: Final = 0xFFFF
_EMPTY: Final = _STORED_BLOCK.pack(0, 0, _LARGEST_STORED)
_FIRST_STORED: Final = _STORED_BLOCK.pack(0, _FIRST_BYTES, _FIRST_BYTES ^ _LARGEST_STORED)


def deflate(content: Content, level: int) -> bytes:
    """Return a deflate stream: equal for equal contents, in every thread and process."""
    if level > FASTEST_LEVELS:
        return zlib_ng.compress(content, level, _RAW)
    if len(content) < _TINY_BYTES:
        return zlib_ng.compress(content, 1, _RAW)
    if len(content) < _SHORT_BYTES or level == FASTEST_LEVELS:
        return isal_zlib.compress(content, FASTEST_LEVELS, _RAW)
    return _deflate_fast(content, isal_zlib.Z_FINISH)


def deflate_block(data: bytes, level: int, *, last: bool) -> bytes:
    """Return a piece of a deflate stream that may follow any other and precede any other.

    It refers to nothing outside itself and ends on a byte boundary, so that pieces made in parallel
    can be joined. It is never longer than `largest_deflated`.

    Args:
        data: The contents.
        level: Compression level from 0 (store) to 9.
        last: Whether the piece ends the stream.
    """
    packed = _deflate_piece(data, level, isal_zlib.Z_FINISH if last else isal_zlib.Z_SYNC_FLUSH)
    if packed is None or len(packed) >= _stored_length(len(data)):
        return _store(data, last=last)
    return packed


def _deflate_piece(data: bytes, level: int, flush: int) -> bytes | None:
    if not level:
        return None
    if level < FASTEST_LEVELS and len(data) >= _SHORT_BYTES:
        return _deflate_fast(data, flush)
    library = isal_zlib if level <= FASTEST_LEVELS else zlib_ng
    machine = library.compressobj(max(level, FASTEST_LEVELS), library.DEFLATED, _RAW)
    packed: bytes = machine.compress(data) + machine.flush(flush)
    return packed


def _deflate_fast(content: Content, flush: int) -> bytes:
    first = bytes(content[:_FIRST_BYTES])
    machine = isal_zlib.compressobj(_IGZIP_FAST, isal_zlib.DEFLATED, _RAW, zdict=first)
    return b"".join(
        (_FIRST_STORED, first, machine.compress(content[_FIRST_BYTES:]), machine.flush(flush))
    )


def largest_deflated(size: int, block_bytes: int) -> int:
    """Return the length of a deflate stream of `size` bytes if none of its blocks can be packed."""
    whole, rest = divmod(size, block_bytes)
    return whole * _stored_length(block_bytes) + (_stored_length(rest) if rest else 0)


def empty_blocks(nbytes: int) -> bytes:
    """Return at least `nbytes` of a deflate stream that decode to nothing; none if negative."""
    return _EMPTY * -(-nbytes // len(_EMPTY)) if nbytes > 0 else b""


def _stored_length(size: int) -> int:
    return size + _STORED_BLOCK.size * -(-size // _LARGEST_STORED)


def _store(data: bytes, *, last: bool) -> bytes:
    pieces: list[bytes] = []
    for begin in range(0, len(data), _LARGEST_STORED):
        piece = data[begin : begin + _LARGEST_STORED]
        final = last and begin + len(piece) == len(data)
        pieces += (_STORED_BLOCK.pack(final, len(piece), len(piece) ^ _LARGEST_STORED), piece)
    return b"".join(pieces)
