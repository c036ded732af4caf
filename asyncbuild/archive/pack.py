"""What a worker does: a run of tar members in, a stretch of zip file out.

Pure, and all in one call: a call per member would spend more time on the way to the worker than in
deflate.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
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
    names_of,
    pack_attributes,
    pack_local,
)


class _Times(dict[int, int]):
    def __missing__(self, mtime: int) -> int:
        self[mtime] = time = dos_time(mtime)
        return time


@dataclass(frozen=True, slots=True)
class PackedRun:
    """Local headers and contents of members, and columns with a number for each of them.

    `offsets` count from the beginning of `data`, `lengths` are those of the local headers, `modes`
    are those of stat(2).
    """

    data: bytes
    offsets: Sequence[int]
    lengths: Sequence[int]
    modes: Sequence[int]

    def entries(self) -> list[Entry]:
        """As the directory wants them."""
        data = self.data
        attributes = {mode: pack_attributes(mode) for mode in set(self.modes)}
        return [
            (data[offset : offset + length], attributes[mode], offset, ())
            for offset, length, mode in zip(self.offsets, self.lengths, self.modes, strict=True)
        ]

    def leave_out(self, paths: Collection[bytes]) -> "PackedRun":
        """The same without the members that have these paths."""
        if not paths:
            return self
        names = names_of(self.entries())
        kept = [number for number, name in enumerate(names) if name not in paths]
        if len(kept) == len(names):
            return self
        ends = [*self.offsets[1:], len(self.data)]
        pieces = [self.data[self.offsets[number] : ends[number]] for number in kept]
        lengths = map(len, pieces)
        return PackedRun(
            b"".join(pieces),
            list(accumulate(lengths, initial=0))[:-1],
            [self.lengths[number] for number in kept],
            [self.modes[number] for number in kept],
        )


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
    offsets: list[int] = []
    lengths: list[int] = []
    modes: list[int] = []
    offset = 0
    times = _Times()
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
        header = pack_local(
            name, name_flags(name), method, times[mtime], crc, compressed_size, size
        )
        pieces += (header, packed)
        offsets.append(offset)
        lengths.append(len(header))
        modes.append(mode)
        offset += len(header) + compressed_size
    return PackedRun(b"".join(pieces), offsets, lengths, modes)


def pack_block(block: Block, level: int) -> PackedBlock:
    """Compress a block of a large member."""
    return PackedBlock(deflate_block(block.data, level, last=block.last), crc32(block.data))
