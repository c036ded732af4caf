"""Sizes of parts, and bodies that can be read, sent and sent again."""

import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.storage.parts import (
    LEAST_PART_BYTES,
    MIB,
    MOST_PART_BYTES,
    MOST_PARTS,
    Body,
    Buffer,
    part_bytes,
)

FIRST = st.integers(LEAST_PART_BYTES, MOST_PART_BYTES)
PIECES = st.lists(st.binary(max_size=200))


@given(FIRST)
def test_every_part_is_within_the_limits_of_s3(first: int) -> None:
    """No planned part is below 5 MiB or above 5 GiB, and none is smaller than the one before."""
    sizes = [part_bytes(number, first) for number in range(1, MOST_PARTS + 1)]
    assert first == sizes[0]
    assert min(sizes) >= LEAST_PART_BYTES
    assert max(sizes) <= MOST_PART_BYTES
    assert all(before <= after for before, after in pairwise(sizes))
    assert sum(sizes) >= 5 * 10**12, "an object of 5 TB does not fit"


@pytest.mark.parametrize(
    ("number", "size"),
    [(1, 8), (5000, 8), (5001, 16), (5500, 16), (5501, 32), (10_000, 8192)],
)
def test_parts_grow_late(number: int, size: int) -> None:
    """The first 5,000 parts of 8 MiB are equal; then the size doubles every 500, up to 5 GiB."""
    assert min(size * MIB, MOST_PART_BYTES) == part_bytes(number, 8 * MIB)


def test_the_largest_object_takes_parts_that_begin_large() -> None:
    """50 TB, the largest object there is, fits if the first parts are near the limit already."""
    sizes = (part_bytes(number, 4700 * MIB) for number in range(1, MOST_PARTS + 1))
    assert sum(sizes) >= 50 * 10**12


@given(PIECES, st.lists(st.integers(0, 300)))
def test_a_buffer_returns_its_bytes_in_order(chunks: list[bytes], cuts: list[int]) -> None:
    """Bytes are returned once each, wherever the buffer is cut."""
    buffer = Buffer()
    for chunk in chunks:
        buffer.append(chunk)
    whole = b"".join(chunks)
    begin = 0
    for nbytes in cuts:
        assert len(whole) - begin == buffer.size_bytes
        body = buffer.cut(nbytes)
        assert whole[begin : begin + nbytes] == body.read()
        begin = min(begin + nbytes, len(whole))
    assert whole[begin:] == buffer.cut(len(whole) + 1).read()
    assert buffer.size_bytes == 0


def test_a_buffer_keeps_no_chunk() -> None:
    """A chunk is copied, so that its memory is free again; parts already cut do not change."""
    buffer = Buffer()
    chunk = bytearray(b"a" * 3 * MIB)
    buffer.append(memoryview(chunk)[: MIB // 2])
    first = buffer.cut(MIB // 4)
    buffer.append(memoryview(chunk))
    chunk[:] = b"b" * len(chunk)
    buffer.append(memoryview(chunk))
    assert first.read() == b"a" * (MIB // 4)
    assert buffer.cut(buffer.size_bytes).read() == b"a" * (MIB // 4 + 3 * MIB) + b"b" * 3 * MIB


@given(
    PIECES,
    st.lists(st.tuples(st.sampled_from(["read", "set", "cur", "end"]), st.integers(-9, 300))),
)
def test_a_body_reads_like_a_file(pieces: list[bytes], steps: list[tuple[str, int]]) -> None:
    """Any sequence of reads and seeks gives what a BytesIO of the same bytes gives."""
    body, file = Body(pieces), io.BytesIO(b"".join(pieces))
    size = len(body)
    assert len(file.getvalue()) == size
    origins = {"set": io.SEEK_SET, "cur": io.SEEK_CUR, "end": io.SEEK_END}
    for step, number in steps:
        if step == "read":
            assert file.read(number) == body.read(number)
        else:
            start = {"set": 0, "cur": file.tell(), "end": size}[step]
            file.seek(min(max(0, start + number), size))
            assert file.tell() == body.seek(number, origins[step])
        assert file.tell() == body.tell()


@given(PIECES)
async def test_a_body_can_be_sent_again(pieces: list[bytes]) -> None:
    """Every iteration begins at the first byte: a request that failed is sent whole once more."""
    whole, body = b"".join(pieces), Body(pieces)
    for _ in range(2):
        assert whole == b"".join([bytes(piece) async for piece in body])


@pytest.mark.parametrize("pieces", [[], [b""], [b"abc"], [b"ab", b"cdefg", b"", b"hi"]])
def test_every_range_is_read(pieces: list[bytes]) -> None:
    """Ranges begin at each byte, have each length, and cross pieces.

    Without a length, to the end.
    """
    whole, body = b"".join(pieces), Body(pieces)
    assert body
    assert body.read() == whole
    for begin in range(len(whole) + 2):
        for size in range(len(whole) + 2):
            assert body.seek(begin) == min(begin, len(whole))
            assert body.read(size) == whole[begin : begin + size]
            assert body.tell() == min(begin + size, len(whole))
        for everything in (None, -1):
            body.seek(begin)
            assert body.read(everything) == whole[begin:]


async def test_a_long_piece_is_written_in_steps() -> None:
    """Bytes that the socket does not take at once are copied: at most 256 KiB."""
    whole = bytes(range(256)) * 2_500
    written = [bytes(each) async for each in Body([whole, b"end"])]
    assert [len(each) for each in written] == [262_144, 262_144, 115_712, 3]
    assert b"".join(written) == whole + b"end"


def test_a_buffer_is_cut_at_its_segments_too() -> None:
    """A part that ends where a segment does leaves no rest of it."""
    buffer = Buffer()
    buffer.append(b"a" * MIB + b"b" * MIB + b"c")
    for expected in (b"a" * MIB, b"b" * MIB, b"c"):
        body = buffer.cut(MIB)
        assert [len(piece) for piece in body.pieces] == [len(expected)]
        assert body.read() == expected
    assert buffer.cut(1).pieces == []


@pytest.mark.parametrize("number", range(5_000, 10_000, 500))
def test_the_size_doubles_after_a_part_and_not_before(number: int) -> None:
    """Each step of growth is checked."""
    last, first = part_bytes(number, LEAST_PART_BYTES), part_bytes(number + 1, LEAST_PART_BYTES)
    assert last == min(LEAST_PART_BYTES << (number - 5_000) // 500, MOST_PART_BYTES)
    assert first == min(2 * last, MOST_PART_BYTES)
