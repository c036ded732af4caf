"""What an archive holds and where: its central directory, with an index (APPNOTE.TXT 6.3.10).

The directory says all that a delta needs: path, mode, blob id, offset, sizes, CRC. So it is kept as
it is in the archive, byte for byte; whoever has the archive has the table. In a file of its own it
gets a head with version and checksum, since a table that is wrong would make a wrong archive.

An archive of ours has no bytes between its members and none between the last one and the directory.
So a member ends where the next one begins, and the order of the directory is that of the members.
"""

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 - the module's own name is lower case
from typing import Final, NamedTuple

from isal.isal_zlib import crc32

from asyncbuild.archive.zip import BLOB_ID_EXTRA
from asyncbuild.errors import Retry

END_BYTES: Final = 98  # at most, of what follows a directory: 56 + 20 + 22 (4.3.14 to 4.3.16)

_SIGNATURE: Final = b"PK\x01\x02"
HEADER_BYTES: Final = 46
_FEW: Final = 8  # names, each of them looked for on its own,
_HITS: Final = 1_000  # in so many places at least
_TRIES: Final = 8  # places where a name may stand for another one
_INDEXED: Final = Struct("<4s24xHHH8xL")  # signature, lengths of name, extra and comment, offset
_SIZES: Final = Struct("<20xLL")
_MODE: Final = Struct("<40xH")
_OFFSET: Final = Struct("<L")
_OFFSET_AT: Final = 42
_SHORT: Final = Struct("<H")
_VERSION_AT: Final = 6
_NAME_LENGTH_AT: Final = 28
_EXTRA_LENGTH_AT: Final = 30
_VERSION: Final = 20  # 4.4.3.2: deflate and directories
_VERSION_64: Final = 45
_EXTRA: Final = Struct("<HH")
_LIMIT_32: Final = 0xFFFFFFFF
_LIMIT_16: Final = 0xFFFF
_ZIP64_EXTRA: Final = 0x0001

_END: Final = Struct("<4s4xHHLLH")
_END_64: Final = Struct("<4s20xQQQQ")

_MAGIC: Final = b"asyncbuild table 1\n"
_HEAD: Final = Struct(f"<{len(_MAGIC)}sQQL")  # magic, offset of the directory, its length, CRC-32
_PLACE: Final = Struct("<QQ")
HEAD_BYTES: Final = _HEAD.size


class BrokenTable(Retry):
    """These bytes are no directory of an archive that asyncbuild made."""


class Directory(NamedTuple):
    """A central directory as it was read, and where it begins in its archive."""

    content: bytes
    offset: int

    def find(self, name: bytes, begin: int) -> tuple[int, int] | None:
        """The next entry of this name from a byte of the directory on.

        Returns:
            Where its name ends in the directory, and its offset in the archive. None if there is
            none, or if it is not to be found quickly: its name may be in many others.
        """
        at = begin - 1
        for _ in range(_TRIES):
            at = self.content.find(name, at + 1)
            if at < 0:
                return None
            position = at - HEADER_BYTES
            if position >= 0 and self.content.startswith(_SIGNATURE, position):
                _, length, _, _, offset = _INDEXED.unpack_from(self.content, position)
                if length == len(name) and offset != _LIMIT_32:
                    return at + length, offset
        return None


class Listed(NamedTuple):
    """What the table says of one entry; no blob id of a directory."""

    name: bytes
    mode: int
    blob_id: bytes


@dataclass(frozen=True, slots=True)
class Table:
    """The entries of one archive, in order of their offsets.

    Attributes:
        directory: Central headers, without the records that end them.
        positions: Where each header begins in `directory`; at last, its length.
        offsets: Where each member begins in the archive; at last, where the directory does.
    """

    directory: bytes
    positions: "array[int]"
    offsets: "array[int]"

    def __len__(self) -> int:
        return len(self.positions) - 1

    @property
    def members_bytes(self) -> int:
        """Length of all members; the directory begins there."""
        return self.offsets[-1]

    def find(self, names: Collection[bytes]) -> list[int]:
        """Numbers of the entries that have one of these names, in order."""
        if len(names) <= _FEW and (few := self._search(names)) is not None:
            return few
        directory, length = self.directory, _SHORT.unpack_from
        found = []
        for number, position in enumerate(self.positions[:-1]):
            begin = position + HEADER_BYTES
            (name_length,) = length(directory, position + _NAME_LENGTH_AT)
            if directory[begin : begin + name_length] in names:
                found.append(number)
        return found

    def name_of(self, number: int) -> bytes:
        """The name of one entry."""
        begin = self.positions[number] + HEADER_BYTES
        (length,) = _SHORT.unpack_from(self.directory, begin - HEADER_BYTES + _NAME_LENGTH_AT)
        return self.directory[begin : begin + length]

    def _search(self, names: Iterable[bytes]) -> list[int] | None:
        """As `find`: to look for bytes is quicker than to look at every header.

        None if they are everywhere: a name as short as `a`, say.
        """
        directory, positions = self.directory, self.positions
        found = []
        left = max(_HITS, len(self) // 8)
        for name in names:
            at = directory.find(name)
            while at >= 0 and left:
                left -= 1
                number = bisect_left(positions, at - HEADER_BYTES)
                if number < len(self) and positions[number] == at - HEADER_BYTES:
                    (length,) = _SHORT.unpack_from(directory, positions[number] + _NAME_LENGTH_AT)
                    if length == len(name):
                        found.append(number)
                at = directory.find(name, at + 1)
        return sorted(found) if left else None

    def iter_entries(self) -> Iterator[Listed]:
        """Names, modes and blob ids, in order."""
        directory = self.directory
        for position in self.positions[:-1]:
            _, name_length, extra_length, _, _ = _INDEXED.unpack_from(directory, position)
            name_end = position + HEADER_BYTES + name_length
            (mode,) = _MODE.unpack_from(directory, position)
            extra = directory[name_end : name_end + extra_length]
            name = directory[position + HEADER_BYTES : name_end]
            yield Listed(name, mode, dict(_iter_extras(extra)).get(BLOB_ID_EXTRA, b""))

    def pack(self) -> bytes:
        """As a file: a head, then the directory."""
        return pack_head(self.members_bytes, len(self.directory), crc32(self.directory)) + (
            self.directory
        )


def pack_head(offset: int, nbytes: int, crc: int) -> bytes:
    """The head of a table's file: where the directory begins in its archive, its length and CRC-32.

    The checksum that is kept goes on over the two numbers.
    """
    return _HEAD.pack(_MAGIC, offset, nbytes, crc32(_PLACE.pack(offset, nbytes), crc))


def parse_file(packed: bytes) -> Directory:
    """The directory in what `pack` wrote.

    Raises:
        BrokenTable: Another version, or damaged.
    """
    if len(packed) < HEAD_BYTES:
        raise BrokenTable("a table ends within its head")
    magic, offset, nbytes, crc = _HEAD.unpack_from(packed)
    directory = packed[HEAD_BYTES:]
    if magic != _MAGIC:
        raise BrokenTable(f"a table of another version begins with {magic!r}")
    if nbytes != len(directory) or crc != crc32(_PLACE.pack(offset, nbytes), crc32(directory)):
        raise BrokenTable(f"a table of {nbytes} bytes is cut or damaged")
    return Directory(directory, offset)


class End(NamedTuple):
    """What the last records of an archive say of its directory."""

    entries: int
    offset: int
    nbytes: int


def parse_end(tail: bytes) -> End:
    """Read the records that end an archive; `tail` are its last bytes, `END_BYTES` if it has them.

    Raises:
        BrokenTable: They are not there, or a comment follows.
    """
    begin = len(tail) - _END.size
    if begin < 0:
        raise BrokenTable("an archive ends before its end record")
    signature, count, entries, nbytes, offset, comment = _END.unpack_from(tail, begin)
    if signature != b"PK\x05\x06" or comment or count != entries:
        raise BrokenTable("an archive does not end as ours do")
    if entries != _LIMIT_16 and _LIMIT_32 not in (nbytes, offset):
        return End(entries, offset, nbytes)
    begin = len(tail) - END_BYTES
    if begin < 0:
        raise BrokenTable("an archive's zip64 end record is missing")
    signature, count, entries, nbytes, offset = _END_64.unpack_from(tail, begin)
    if signature != b"PK\x06\x06" or count != entries:
        raise BrokenTable("an archive's zip64 end record is missing")
    return End(entries, offset, nbytes)


def parse_directory(directory: bytes, offset: int) -> Table:
    """Index a central directory that begins at `offset` of its archive.

    Raises:
        BrokenTable: It is none, or the members are not in the directory's order.
    """
    positions, offsets = array("Q"), array("Q")
    unpack = _INDEXED.unpack_from
    position, end, before = 0, len(directory), -1
    try:
        while position < end:
            signature, name, extra, comment, member = unpack(directory, position)
            length = HEADER_BYTES + name + extra + comment
            if member == _LIMIT_32:
                member = _wide_offset(directory, position, name, extra)
            if signature != _SIGNATURE or member <= before:
                raise BrokenTable(f"no header of ours at byte {position} of a directory")
            positions.append(position)
            offsets.append(member)
            position += length
            before = member
    except StructError as error:
        raise BrokenTable("a directory ends within a header") from error
    if position != end or before >= offset or (positions and offsets[0]):
        raise BrokenTable("a directory does not fit its archive")
    positions.append(end)
    offsets.append(offset)
    return Table(directory, positions, offsets)


def move_headers(directory: bytes, positions: "array[int]", by: int) -> bytes:
    """Central headers of members that move by so many bytes, back to the beginning if negative.

    Args:
        directory: A table's.
        positions: Of the headers, neighbours, and where the last one ends.
        by: Bytes.
    """
    begin, end = positions[0], positions[-1]
    if not by:
        return directory[begin:end]
    moved = bytearray(memoryview(directory)[begin:end])
    unpack, pack = _OFFSET.unpack_from, _OFFSET.pack_into
    wide = []
    for position in positions[:-1]:
        at = position - begin + _OFFSET_AT
        (offset,) = unpack(moved, at)
        if offset == _LIMIT_32:
            wide.append(position)
            continue
        if offset + by >= _LIMIT_32:
            wide.append(position)
        else:
            pack(moved, at, offset + by)
    return _move_wide(directory, moved, begin, wide, by) if wide else bytes(moved)


def _move_wide(directory: bytes, moved: bytearray, begin: int, wide: list[int], by: int) -> bytes:
    """Replace the headers whose offset is, or will be, in a zip64 extra."""
    pieces: list[bytes | memoryview] = []
    done = 0
    for position in wide:
        _, name, extra, _, offset = _INDEXED.unpack_from(directory, position)
        if offset == _LIMIT_32:
            offset = _wide_offset(directory, position, name, extra)
        at = position - begin
        pieces += (memoryview(moved)[done:at], _repack(directory, position, offset + by))
        done = at + HEADER_BYTES + name + extra
    return b"".join((*pieces, memoryview(moved)[done:]))


def _repack(directory: bytes, position: int, offset: int) -> bytes:
    """One header with another offset, in a zip64 extra only if it has to be (4.5.3)."""
    _, name_length, extra_length, _, _ = _INDEXED.unpack_from(directory, position)
    name_end = position + HEADER_BYTES + name_length
    extras = dict(_iter_extras(directory[name_end : name_end + extra_length]))
    kept_sizes = 8 * sum(size == _LIMIT_32 for size in _SIZES.unpack_from(directory, position))
    wide = extras.pop(_ZIP64_EXTRA, b"")[:kept_sizes]
    if offset >= _LIMIT_32:
        wide += offset.to_bytes(8, "little")
    if wide:
        extras = {_ZIP64_EXTRA: wide, **extras}
    packed = b"".join(_EXTRA.pack(kind, len(one)) + one for kind, one in extras.items())
    header = bytearray(directory[position:name_end])
    _SHORT.pack_into(header, _VERSION_AT, _VERSION_64 if wide else _VERSION)
    _SHORT.pack_into(header, _EXTRA_LENGTH_AT, len(packed))
    _OFFSET.pack_into(header, _OFFSET_AT, min(offset, _LIMIT_32))
    return bytes(header) + packed


def _wide_offset(directory: bytes, position: int, name: int, extra: int) -> int:
    """4.5.3: the sizes that do not fit come first, in their order, then the offset."""
    begin = position + HEADER_BYTES + name
    sizes = _SIZES.unpack_from(directory, position)
    skipped = 8 * sum(size == _LIMIT_32 for size in sizes)
    for kind, content in _iter_extras(directory[begin : begin + extra]):
        if kind == _ZIP64_EXTRA and len(content) >= skipped + 8:
            return int.from_bytes(content[skipped : skipped + 8], "little")
    raise BrokenTable(f"the header at byte {position} of a directory lacks its offset")


def _iter_extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        yield kind, extra[position : position + length]
        position += length
