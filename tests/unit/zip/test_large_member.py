"""Large members are read by any reader, whichever way it finds the width of a data descriptor.

The limit of 32 bits is brought down to some kilobytes, so that every length around it can be had.
"""

import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.zip.feeder import BLOCK_BYTES
from asyncbuild.zip.format.deflate import crc32, deflate_block, largest_deflated
from asyncbuild.zip.format.large_member import LargeEntry
from asyncbuild.zip.format.tar_reader import LargeMember

_BLOCK = 2_000
_MOST = 20_000
_DESCRIPTOR = b"PK\7\x08"
_NOISE = random.Random(7).randbytes(2 * _MOST)  # noqa: S311 - the same in every run


def _write(content: bytes, most: int = _MOST) -> tuple[bytes, bytes, bytes, bytes]:
    """Local header, deflated stream, descriptor, central header, as the engine makes them."""
    member = LargeMember(b"big", 0o100644, 1_800_000_000, len(content), 512)
    entry = LargeEntry(member, 0, block_bytes=_BLOCK, most_32=most)
    written = entry.head
    for begin in range(0, len(content), _BLOCK):
        block = content[begin : begin + _BLOCK]
        last = begin + _BLOCK >= len(content)
        data = entry.add(deflate_block(block, 1, last=last), crc32(block), len(block))
        if begin or entry.head:  # a block and what is added to it are paid for as two blocks
            assert len(data) <= 2 * _BLOCK
        written += data
    central, descriptor = entry.finish()
    extra_bytes = struct.unpack_from("<H", written, 28)[0]
    begin = 30 + len(b"big") + extra_bytes
    return written[:begin], written[begin:], descriptor, central


def _agree(content: bytes, most: int = _MOST) -> int:
    """Return the stream's length after checking that both ways of finding the width agree."""
    local, stream, descriptor, _ = _write(content, most)
    by_header = struct.unpack_from("<H", local, 28)[0] > 0
    by_sizes = len(content) > most or len(stream) > most  # java.util.zip.ZipInputStream.readEnd
    assert by_header == by_sizes
    form = "<4sLQQ" if by_header else "<4sLLL"
    expected = struct.pack(form, _DESCRIPTOR, zlib.crc32(content), len(stream), len(content))
    assert descriptor == expected
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    assert inflater.decompress(stream) == content
    assert inflater.eof
    assert not inflater.unused_data
    return len(stream)


_lengths = st.one_of(
    st.integers(_MOST - 200, _MOST + 50),  # in doubt: it fits, and might not, once deflated
    st.integers(_BLOCK + 1, _MOST + 3 * _BLOCK),
)


@given(
    length=_lengths, pieces=st.lists(st.tuples(st.booleans(), st.integers(1, 6_000)), max_size=9)
)
def test_readers_agree_on_the_width(length: int, pieces: list[tuple[bool, int]]) -> None:
    """Lengths lie around the limit; some stretches can be compressed and others cannot."""
    content = b""
    for noise, nbytes in pieces:
        content += _NOISE[len(content) :][:nbytes] if noise else bytes(nbytes)
    _agree((content + _NOISE)[:length])


@pytest.mark.parametrize("length", range(_MOST - 60, _MOST + 3))
@pytest.mark.parametrize("begin", [b"", _NOISE[:_BLOCK]], ids=["packed", "noise first"])
def test_every_length_around_the_limit(length: int, begin: bytes) -> None:
    """A stream that compresses from its first block on stays short.

    Any other is as long as stored.
    """
    content = begin + bytes(length - len(begin))
    in_doubt = length <= _MOST < largest_deflated(length, _BLOCK)
    nbytes = _agree(content)
    if in_doubt and begin:
        assert _MOST < nbytes <= _MOST + 5
    else:
        assert nbytes < _MOST / 5


def test_the_limit_is_that_of_32_bits() -> None:
    """A header is written at once unless the length is in doubt."""

    def head_of(size: int) -> bytes:
        member = LargeMember(b"big", 0o100644, 0, size, 512)
        return LargeEntry(member, 0, block_bytes=BLOCK_BYTES).head

    for size, expected in {4_294_598_684: 33, 4_294_967_296: 53}.items():
        assert len(head_of(size)) == expected
    for size in (4_294_598_690, 4_294_967_294, 4_294_967_295):
        assert head_of(size) == b""


def _head(size: int) -> bytes:
    member = LargeMember(b"big", 0o100644, 0, size, 512)
    return LargeEntry(member, 0, block_bytes=_BLOCK, most_32=_MOST).head


def test_a_header_waits_only_while_the_width_is_in_doubt() -> None:
    """A header is written at once if the longest stream fits, or if the contents alone do not."""
    longest = [largest_deflated(size, _BLOCK) for size in range(_MOST + 3)]
    assert _MOST in longest
    for size in range(_BLOCK, _MOST + 3):
        waits = longest[size] > _MOST >= size
        wide = size > _MOST
        assert len(_head(size)) == (0 if waits else 30 + 3 + 20 * wide), size


@pytest.mark.parametrize("spare", range(12))
def test_a_stream_in_doubt_ends_just_beyond_the_limit(spare: int) -> None:
    """At most one empty block more than it needs, however its blocks compress."""
    noise = _NOISE[: _BLOCK + 100 + spare]  # another length of the second block each time
    content = noise + bytes(_MOST - 20 - len(noise))
    assert _MOST < _agree(content) <= _MOST + 5


def test_a_first_block_that_just_leaves_room_removes_the_doubt() -> None:
    """If the longest rest ends at the limit, the stream stays short, and its header narrow."""
    seen = set()
    for noise in range(_BLOCK // 2, _BLOCK):
        block = _NOISE[:noise] + bytes(_BLOCK - noise)
        packed = len(deflate_block(block, 1, last=False))
        room = packed + largest_deflated(_MOST - 20 - _BLOCK, _BLOCK) - _MOST
        if room in {0, 1}:
            nbytes = _agree(block + bytes(_MOST - 20 - _BLOCK))
            assert (nbytes < _MOST / 5) == (room == 0)
            seen.add(room)
    assert seen == {0, 1}
