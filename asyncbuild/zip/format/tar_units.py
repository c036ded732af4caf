"""Units of a tar stream: members with their extended headers, found but not checked. Pure.

For code that changes a stream which `TarReader` reads, and checks, afterwards.
"""

from dataclasses import dataclass

from asyncbuild.zip.format.tar_headers import (
    BELONGS_TO_NEXT,
    BLOCK_BYTES,
    DIRECTORY,
    KIND,
    SIZE,
    name_of,
    parse_extension,
    parse_number,
)


@dataclass(slots=True)
class TarUnit:
    """A member: position of its own header, its end, and its path by extended headers."""

    header: int
    end: int
    kind: int
    size: int
    path: bytes

    def name(self, data: bytes) -> bytes:
        """Return its path, given the part of the stream in which it was found."""
        return self.path or name_of(data[self.header : self.header + BLOCK_BYTES])


def find_unit(data: bytes, position: int, *, held_bytes: int, origin: int = 0) -> TarUnit | None:
    """Return the unit that begins at `position`; None if more bytes are needed.

    Args:
        data: A part of the stream.
        position: Where the unit begins in it.
        held_bytes: Contents up to this length must be in `data` whole.
        origin: Position of `data` in the stream.

    Raises:
        BrokenTar: An extended header is damaged.
    """
    extended: dict[bytes, bytes] = {}
    while position + BLOCK_BYTES <= len(data):
        kind = data[position + KIND]
        content = position + BLOCK_BYTES
        size = parse_number(data[position:content][SIZE])
        if kind not in BELONGS_TO_NEXT:
            size = max(size, int(extended.get(b"size", -1)))
            end = content + size + -size % BLOCK_BYTES
            whole = end <= len(data) or size > held_bytes
            path = extended.get(b"path", b"")
            return TarUnit(position, end, kind, size, path) if whole else None
        position = content + size + -size % BLOCK_BYTES
        if position <= len(data):
            extended |= parse_extension(kind, data[content : content + size], origin + content)
    return None


def directories_of(tar: bytes) -> set[bytes]:
    """Return the paths of the directories in a whole tar, also in one with only a global header."""
    found: set[bytes] = set()
    position = 0
    while (unit := find_unit(tar, position, held_bytes=len(tar))) is not None:
        if unit.kind == DIRECTORY:
            found.add(unit.name(tar).rstrip(b"/"))
        position = unit.end
    return found
