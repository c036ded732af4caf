"""Contents become bytes of an entry (RFC 1951): which library at which level, and when not at all.

Measured on real sources (`bench/engine.py`): igzip at level 1 is four times as fast as zlib at 1 and
its output is no longer; above igzip's three levels zlib-ng is twice as fast as zlib, its output
about as long. Both let other threads run meanwhile.

The output depends on the contents and the level alone, as long as the libraries stay the same.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final

from isal import isal_zlib
from zlib_ng import zlib_ng

from asyncbuild.archive.zip import DEFLATED, STORED

Content = bytes | memoryview

crc32: Final[Callable[[Content], int]] = isal_zlib.crc32
crc32_combine: Final[Callable[[int, int, int], int]] = isal_zlib.crc32_combine

_RAW: Final = -15  # no zlib header, the largest window
_IGZIP_LEVELS: Final = 3

# RFC 1951, 3.2.4: a stored block holds up to 65535 bytes and costs five: its type, and its length
# twice
_STORED_BLOCK: Final = Struct("<BHH")
_LARGEST_STORED: Final = 0xFFFF


def deflate(content: Content, level: int) -> tuple[int, Content]:
    """Method and bytes of an entry: deflated, or stored if that is no longer."""
    if not level or not content:
        return STORED, content
    library = isal_zlib if level <= _IGZIP_LEVELS else zlib_ng
    packed: bytes = library.compress(content, level, _RAW)
    return (DEFLATED, packed) if len(packed) < len(content) else (STORED, content)


def deflate_block(data: bytes, level: int, *, last: bool) -> bytes:
    """A piece of a deflate stream that can follow any other and be followed by any other.

    It refers to nothing outside of itself and ends on a byte, so that pieces made in parallel can be
    joined. Never longer than `largest_deflated`.
    """
    stored = _stored_length(len(data))
    if level:
        library = isal_zlib if level <= _IGZIP_LEVELS else zlib_ng
        machine = library.compressobj(level, library.DEFLATED, _RAW)
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
    pieces = []
    for begin in range(0, len(data), _LARGEST_STORED):
        piece = data[begin : begin + _LARGEST_STORED]
        final = last and begin + len(piece) == len(data)
        pieces += (_STORED_BLOCK.pack(final, len(piece), len(piece) ^ _LARGEST_STORED), piece)
    return b"".join(pieces)
