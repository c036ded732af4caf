"""What a worker thread does: a run of tar members in, a stretch of zip file out.

Pure, and all in one call: a call per member would spend more time on the way to the thread than in
deflate.
"""

from dataclasses import dataclass
from stat import S_ISREG

from asyncbuild.archive.deflate import crc32, deflate, deflate_block
from asyncbuild.archive.tar import Block, Run, iter_members
from asyncbuild.archive.zip import STORED, Entry, dos_time, name_flags, pack_local


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


def pack_run(run: Run, level: int) -> PackedRun:
    """Compress the members of a run.

    Raises:
        BrokenTar: The run is damaged.
        Reject: A zip file cannot hold one of the members.
    """
    pieces: list[bytes | memoryview] = []
    entries: list[Entry] = []
    offset = 0
    times: dict[int, int] = {}
    for name, mode, mtime, content in iter_members(run):
        method, packed = deflate(content, level) if S_ISREG(mode) else (STORED, content)
        time = times.get(mtime)
        if time is None:
            time = times[mtime] = dos_time(mtime)
        entry = Entry(
            *(name, mode, time, name_flags(name), method, crc32(content)),
            *(len(packed), len(content), offset),
        )
        header = pack_local(entry)
        pieces += (header, packed)
        entries.append(entry)
        offset += len(header) + len(packed)
    return PackedRun(b"".join(pieces), entries)


def pack_block(block: Block, level: int) -> PackedBlock:
    """Compress a block of a large member."""
    return PackedBlock(deflate_block(block.data, level, last=block.last), crc32(block.data))
