"""Parser for runs of whole tar members: the half of reading that any worker can do.

Headers are ustar's, with pax and GNU names before them (`zip/format/tar_headers.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from stat import S_IFDIR, S_IFLNK, S_IFREG, S_ISDIR
from typing import Final

from isal.isal_zlib import adler32

from asyncbuild.zip.format.tar_headers import (
    BELONGS_TO_NEXT,
    BLOCK_BYTES,
    DIRECTORY,
    FIELDS,
    FILE,
    KIND,
    LINK,
    NUMBERS,
    PAX_GLOBAL,
    PREFIX_BEGIN,
    SUMS,
    SYMLINK,
    BrokenTar,
    name_of,
    parse_extension,
    parse_seconds,
)

_PERMISSIONS: Final = 0o7777


# Name, mode, mtime and content of one entry of the tree. The name is the raw path, a directory's
# ending in a slash; the mode is an st_mode, the type included; mtime is in seconds since the epoch;
# the content is a file's bytes or a link's target, empty for a directory. A plain tuple, for speed.
Member = tuple[bytes, int, int, memoryview | bytes]


@dataclass(frozen=True, slots=True)
class Run:
    """Whole members with their extended headers: `nbytes` of the stream.

    `headers` are the positions in `data` of all header blocks, `sizes` the lengths of what follows
    each. `data` begins at `offset` of the stream and may hold more than this run. `cut` bytes are
    removed from the beginning of each name; directories whose names are not longer than that are
    left out.
    """

    data: bytes
    offset: int
    headers: Sequence[int]
    sizes: Sequence[int]
    nbytes: int
    cut: int = 0


def iter_members(run: Run) -> Iterator[Member]:
    """Parse the members of a run, in order.

    Raises:
        BrokenTar: A header is damaged.
    """
    data, view, cut = run.data, memoryview(run.data), run.cut
    fields = FIELDS.unpack_from
    extended: dict[bytes, bytes] = {}
    position = 0
    try:
        for position, size in zip(run.headers, run.sizes, strict=True):
            content = position + BLOCK_BYTES
            name, mode, mtime, checksum, kind = fields(data, position)
            if adler32(view[position:content]) & 0xFFFF != SUMS[checksum]:
                raise ValueError("the checksum of a header is wrong")  # noqa: TRY301 - for speed
            name = name.partition(b"\0")[0]
            if data[position + PREFIX_BEGIN]:
                name = name_of(data[position:content])
            if kind == FILE and not extended:
                mode = NUMBERS[mode] & _PERMISSIONS | S_IFREG
                name = name[cut:]
                if not name:
                    raise ValueError("a file without a name")  # noqa: TRY301 - for speed
                yield name, mode, NUMBERS[mtime], view[content : content + size]
                continue
            if kind in BELONGS_TO_NEXT:
                offset = run.offset + content
                extended |= parse_extension(kind, data[content : content + size], offset)
                continue
            if kind == PAX_GLOBAL:
                continue
            mode = NUMBERS[mode] & _PERMISSIONS
            plain = (name, mode, NUMBERS[mtime], view[content : content + size])
            name, mode, mtime, target = _adapt(plain, data[position:content], extended)
            extended = {}
            if _is_below(name, mode, cut):
                yield name[cut:], mode, mtime, target
    except ValueError as error:
        raise BrokenTar(str(error), run.offset + position) from error


def _is_below(name: bytes, mode: int, cut: int) -> bool:
    """Return whether a member is below the directory that is cut off, which its parents are not.

    Raises:
        ValueError: The member has no name.
    """
    if len(name) > cut and name != b"/":
        return True
    if cut and S_ISDIR(mode):
        return False
    raise ValueError("a member without a name")


def _adapt(member: Member, header: bytes, extended: Mapping[bytes, bytes]) -> Member:
    """Return a member with extended headers applied and its type in the mode. Raises ValueError."""
    name, mode, mtime, content = member
    name = extended.get(b"path", name)
    if b"mtime" in extended:
        mtime = parse_seconds(extended[b"mtime"])
    if header[KIND] == SYMLINK:
        target = extended.get(b"linkpath", header[LINK].partition(b"\0")[0])
        return name, mode | S_IFLNK, mtime, target
    if header[KIND] == DIRECTORY:
        return name.rstrip(b"/") + b"/", mode | S_IFDIR, mtime, b""
    return name, mode | S_IFREG, mtime, content
