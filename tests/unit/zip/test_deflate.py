"""Deflate streams: right, joinable, within their bound, and the same in every thread."""

import random
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncbuild.zip.format.deflate import (
    crc32,
    crc32_combine,
    deflate,
    deflate_block,
    largest_deflated,
)

_levels = st.integers(0, 9)


@settings(deadline=None)
@given(st.binary(max_size=5000), st.integers(1, 9))
def test_deflated_contents_are_inflated_by_zlib(content: bytes, level: int) -> None:
    """All levels are tried."""
    assert content == zlib.decompress(deflate(content, level), -15)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=5), _levels)
def test_blocks_are_joined(blocks: list[bytes], level: int) -> None:
    """Separately compressed blocks are one stream, and their CRCs one CRC."""
    stream, crc = b"", 0
    for number, block in enumerate(blocks):
        stream += deflate_block(block, level, last=number == len(blocks) - 1)
        crc = crc32_combine(crc, crc32(block), len(block))
    inflate = zlib.decompressobj(-15)
    assert b"".join(blocks) == inflate.decompress(stream)
    assert inflate.eof
    assert zlib.crc32(b"".join(blocks)) == crc


@pytest.mark.parametrize("level", [0, 1, 4, 9])
@pytest.mark.parametrize("size", [1, 65_535, 65_536, 200_000])
def test_no_block_is_longer_than_its_bound(level: int, size: int) -> None:
    """Incompressible contents are stored within the stream."""
    content = random.Random(size).randbytes(size)  # noqa: S311 - incompressible, not secret
    packed = deflate_block(content, level, last=True)
    assert len(packed) <= largest_deflated(size, size)
    assert content == zlib.decompress(packed, -15)


@pytest.mark.parametrize("level", range(1, 10))
def test_every_thread_has_the_same_output(level: int) -> None:
    """Memory and stack of a thread are its own; the output shows nothing of them (I8)."""
    source = random.Random(level)  # noqa: S311 - examples
    words = [source.randbytes(source.randrange(1, 6)) for _ in range(40)]
    contents = [b"".join(source.choices(words, k=source.randrange(1, 60))) for _ in range(400)] + [
        b"".join(source.choices(words, k=source.randrange(500, 30_000))) for _ in range(10)
    ]

    def packed() -> list[bytes]:
        return [deflate(one, level) + deflate_block(one, level, last=True) for one in contents]

    expected = packed()
    assert [expected] * 3 == [_in_thread(packed) for _ in range(3)]


def _in_thread(function: Callable[[], list[bytes]]) -> list[bytes]:
    results: list[list[bytes]] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


_PRINT_DIGEST = """
import hashlib, random
from asyncbuild.zip.format.deflate import deflate, deflate_block
source = random.Random(3)
words = [source.randbytes(source.randrange(1, 6)) for _ in range(40)]
digest = hashlib.sha256()
for level in (1, 2, 3, 4):
    for longest, count in ((60, 1500), (9000, 40), (40_000, 4)):
        for _ in range(count):
            one = b"".join(source.choices(words, k=source.randrange(1, longest)))
            digest.update(deflate(one, level) + deflate_block(one, level, last=False))
print(digest.hexdigest())
"""


def test_every_process_has_the_same_output() -> None:
    """Addresses differ in every process; the output shows nothing of them (I8)."""
    command = [sys.executable, "-c", _PRINT_DIGEST]
    digests = {subprocess.run(command, capture_output=True, check=True).stdout for _ in range(6)}
    assert len(digests) == 1
