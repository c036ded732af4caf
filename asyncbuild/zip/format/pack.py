"""Work of a compression process: packs a run of tar members into a stretch of zip file.

Pure, and one call per run: with one call per member, passing it to the worker would take longer
than deflate.
"""

from collections.abc import Collection
from dataclasses import dataclass
from stat import S_ISREG

from asyncbuild.zip.format.central_directory import (
    CentralHeaders,
    move_headers,
    pack_attributes,
    pack_central,
)
from asyncbuild.zip.format.deflate import (
    LEAST_DEFLATED_BYTES,
    Content,
    crc32,
    deflate,
    deflate_block,
)
from asyncbuild.zip.format.records import (
    DEFLATED,
    STORED,
    dos_time,
    pack_local,
)
from asyncbuild.zip.format.tar_members import Run, iter_members
from asyncbuild.zip.format.tar_reader import Block


class _Times(dict[int, int]):
    def __missing__(self, mtime: int) -> int:
        self[mtime] = time = dos_time(mtime)
        return time


class _Attributes(dict[int, bytes]):
    def __missing__(self, mode: int) -> bytes:
        self[mode] = packed = pack_attributes(mode)
        return packed


@dataclass(frozen=True, slots=True)
class PackedRun:
    """Members with local headers; central headers as if the first member began the archive.

    There are no gaps, so each member ends where the next one begins.
    """

    data: bytes
    central: CentralHeaders

    def leave_out(self, paths: Collection[bytes]) -> "PackedRun":
        """Return a copy without the members that have these paths."""
        if not paths:
            return self
        kept = [number for number, name in enumerate(self.central.names()) if name not in paths]
        if len(kept) == len(self.central):
            return self
        packed, positions = self.central.packed, self.central.positions
        offsets = [*self.central.offsets(), len(self.data)]
        pieces: list[bytes] = []
        headers: list[bytes] = []
        offset = 0
        for number in kept:
            begin, end = offsets[number : number + 2]
            pieces.append(self.data[begin:end])
            headers.append(move_headers(packed, positions[number : number + 2], offset - begin))
            offset += end - begin
        return PackedRun(b"".join(pieces), CentralHeaders.of(headers))


@dataclass(frozen=True, slots=True)
class PackedBlock:
    """A block of a large member, deflated."""

    data: bytes
    crc: int


def pack_run(run: Run, level: int) -> PackedRun:
    """Compress the members of a run.

    Raises:
        BrokenTar: The run is damaged.
        Reject: A zip file cannot hold one of the members.
    """
    pieces: list[Content] = []
    headers: list[bytes] = []
    offset = 0
    times, attributes = _Times(), _Attributes()
    for name, mode, mtime, content in iter_members(run):
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
        local = pack_local(name, method, times[mtime], (crc, compressed_size, size))
        pieces += (local, packed)
        headers.append(pack_central(local, attributes[mode], offset, name))
        offset += len(local) + compressed_size
    return PackedRun(b"".join(pieces), CentralHeaders.of(headers))


def pack_block(block: Block, level: int) -> PackedBlock:
    """Compress a block of a large member."""
    return PackedBlock(deflate_block(block.data, level, last=block.last), crc32(block.data))
