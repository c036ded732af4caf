"""What a worker thread does: a run of tar members in, a stretch of zip file out.

Pure, and all in one call: a call per member would spend more time on the way to the thread than in
deflate.
"""

from collections.abc import Container
from dataclasses import dataclass
from stat import S_ISREG

from asyncbuild.archive.deflate import LEAST_DEFLATED_BYTES, Content, crc32, deflate, deflate_block
from asyncbuild.archive.members import Run, iter_members
from asyncbuild.archive.tar import Block
from asyncbuild.archive.zip import (
    DEFLATED,
    STORED,
    Entry,
    dos_time,
    name_flags,
    pack_attributes,
    pack_local,
)


class _Times(dict[int, int]):
    def __missing__(self, mtime: int) -> int:
        self[mtime] = time = dos_time(mtime)
        return time


class _Attributes(dict[int, bytes]):
    def __missing__(self, mode: int) -> bytes:
        self[mode] = attributes = pack_attributes(mode)
        return attributes


@dataclass(frozen=True, slots=True)
class PackedRun:
    """Local headers and contents; the offsets of `entries` count from the beginning of `data`."""

    data: bytes
    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class PackedBlock:
    """A block of a large member, deflated."""

    data: bytes
    crc: int


def pack_run(run: Run, level: int, without: Container[bytes] = ()) -> PackedRun:
    """Compress the members of a run, but for directories that are in the archive `without` it.

    Raises:
        BrokenTar: The run is damaged.
        Reject: A zip file cannot hold one of the members.
    """
    pieces: list[Content] = []
    entries: list[Entry] = []
    offset = 0
    times, attributes = _Times(), _Attributes()
    for name, mode, mtime, content in iter_members(run):
        if name in without:
            continue
        size = compressed_size = len(content)
        method, packed, crc = STORED, content, 0
        if size:
            crc = crc32(content)
            if level and size >= LEAST_DEFLATED_BYTES and S_ISREG(mode):
                packed = deflate(content, level)
                compressed_size = len(packed)
                if compressed_size < size:
                    method = DEFLATED
                else:
                    packed, compressed_size = content, size
        header = pack_local(
            name, name_flags(name), method, times[mtime], crc, compressed_size, size
        )
        pieces += (header, packed)
        entries.append((header, attributes[mode], offset, ()))
        offset += len(header) + compressed_size
    return PackedRun(b"".join(pieces), entries)


def pack_block(block: Block, level: int) -> PackedBlock:
    """Compress a block of a large member."""
    return PackedBlock(deflate_block(block.data, level, last=block.last), crc32(block.data))
