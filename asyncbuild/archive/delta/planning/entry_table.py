"""Entries and offsets of an archive: its central directory, with an index (APPNOTE.TXT 6.3.10).

The directory holds all that a delta needs: path, mode, blob id, offset, sizes, CRC. So it is kept
as it is in the archive, byte for byte; every archive contains its own table. In a file of its own
it gets a head with version and checksum, since a wrong table would make a wrong archive.

Archives made by asyncbuild have no gaps between members, nor between the last one and the
directory. So a member ends where the next one begins, and the order of the directory is that of the
members.
"""

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 - the module's own name is lower case
from typing import Final, NamedTuple

from isal.isal_zlib import crc32

from asyncbuild.domain.errors import Retry
from asyncbuild.zip.format.central_directory import (
    HEADER_BYTES,
    LIMIT_32,
    NAME_LENGTH_AT,
    SHORT,
    blob_id_of,
    name_at,
    wide_offset,
)

END_BYTES: Final = 98  # most bytes behind a directory: 56 + 20 + 22 (4.3.14 to 4.3.16)

_SIGNATURE: Final = b"PK\x01\x02"
_FEW: Final = 8  # names that are searched for one by one,
_HITS: Final = 1_000  # while they occur in fewer places than this, or an eighth of the entries
_TRIES: Final = 8  # occurrences of a name that may belong to another name
_INDEXED: Final = Struct("<4s24xHHH8xL")  # signature, lengths of name, extra and comment, offset
_MODE: Final = Struct("<40xH")
_LIMIT_16: Final = 0xFFFF

_END: Final = Struct("<4s4xHHLLH")
_END_64: Final = Struct("<4s20xQQQQ")

_MAGIC: Final = b"asyncbuild table 1\n"
_HEAD: Final = Struct(f"<{len(_MAGIC)}sQQL")  # magic, offset of the directory, its length, CRC-32
_PLACE: Final = Struct("<QQ")
HEAD_BYTES: Final = _HEAD.size


class BrokenTable(Retry):
    """The bytes are no central directory of an archive that asyncbuild made."""


class CentralDirectory(NamedTuple):
    """A central directory as it was read, and where it begins in its archive."""

    content: bytes
    offset: int

    def find(self, name: bytes, begin: int) -> tuple[int, int] | None:
        """Return the next entry of this name, searching from byte `begin` of the directory.

        Returns:
            Where its name ends in the directory, and its offset in the archive. None if there is
            none, or if it is not found quickly, because its name occurs in many others.
        """
        at = begin - 1
        for _ in range(_TRIES):
            at = self.content.find(name, at + 1)
            if at < 0:
                return None
            position = at - HEADER_BYTES
            if position >= 0 and self.content.startswith(_SIGNATURE, position):
                _, length, _, _, offset = _INDEXED.unpack_from(self.content, position)
                if length == len(name) and offset != LIMIT_32:
                    return at + length, offset
        return None


class Listed(NamedTuple):
    """One entry of a table; `blob_id` is empty for a directory."""

    name: bytes
    mode: int
    blob_id: bytes


@dataclass(frozen=True, slots=True)
class Table:
    """Entries of one archive, in order of their offsets.

    Attributes:
        directory: Central headers, without the records that end them.
        positions: Where each header begins in `directory`; then its length.
        offsets: Where each member begins in the archive; then where the directory does.
    """

    directory: bytes
    positions: "array[int]"
    offsets: "array[int]"

    def __len__(self) -> int:
        return len(self.positions) - 1

    @property
    def members_bytes(self) -> int:
        """Length of all members, which is where the directory begins."""
        return self.offsets[-1]

    def find(self, names: Collection[bytes]) -> list[int]:
        """Return the numbers of the entries that have one of these names, in order."""
        if len(names) <= _FEW and (few := self._search(names)) is not None:
            return few
        directory, length = self.directory, SHORT.unpack_from
        found = []
        for number, position in enumerate(self.positions[:-1]):
            begin = position + HEADER_BYTES
            (name_length,) = length(directory, position + NAME_LENGTH_AT)
            if directory[begin : begin + name_length] in names:
                found.append(number)
        return found

    def name_of(self, number: int) -> bytes:
        """Return the name of one entry."""
        return name_at(self.directory, self.positions[number])

    def _search(self, names: Iterable[bytes]) -> list[int] | None:
        """Return what `find` does by a search for bytes, which is faster than reading every header.

        None if the names occur too often, as a name as short as `a` may.
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
                    (length,) = SHORT.unpack_from(directory, positions[number] + NAME_LENGTH_AT)
                    if length == len(name):
                        found.append(number)
                at = directory.find(name, at + 1)
        return sorted(found) if left else None

    def find_filled(
        self, directories: AbstractSet[bytes], *, without: AbstractSet[bytes]
    ) -> set[bytes]:
        """Return those of the directories that hold more than directories and `without`.

        A directory with no name below it counts as holding something: it is a submodule, or has
        only entries that `export-ignore` leaves out.

        Args:
            directories: Names, each ending in a slash.
            without: Names of entries that do not count.
        """
        if len(directories) > _FEW:
            return _filled(map(self.name_of, range(len(self))), without) & directories
        found: set[bytes] = set()
        for each in sorted(directories, key=len, reverse=True):  # innermost first: they hold least
            if each not in found and (filled := _filled(self._iter_below(each), without)):
                found |= filled
        return found & directories

    def _iter_below(self, directory: bytes) -> Iterator[bytes]:
        """Yield the names below a directory, without its own."""
        at = self.directory.find(directory)
        while at >= 0:
            number = bisect_left(self.positions, at - HEADER_BYTES)
            if number < len(self) and self.positions[number] == at - HEADER_BYTES:
                name = self.name_of(number)
                if name != directory and name.startswith(directory):
                    yield name
            at = self.directory.find(directory, at + 1)

    def iter_entries(self) -> Iterator[Listed]:
        """Yield names, modes and blob ids, in order."""
        directory = self.directory
        for position in self.positions[:-1]:
            (mode,) = _MODE.unpack_from(directory, position)
            yield Listed(name_at(directory, position), mode, blob_id_of(directory, position))

    def pack(self) -> bytes:
        """Return the table as a file: a head, then the directory."""
        return pack_head(self.members_bytes, len(self.directory), crc32(self.directory)) + (
            self.directory
        )


def parents_of(names: Iterable[bytes]) -> set[bytes]:
    """Return all directories above these names, named as in an archive."""
    parents: set[bytes] = set()
    for name in names:
        end = name.rfind(b"/", 0, len(name) - 1)
        while end > 0 and name[: end + 1] not in parents:
            parents.add(name[: end + 1])
            end = name.rfind(b"/", 0, end)
    return parents


def _filled(names: Iterable[bytes], without: AbstractSet[bytes]) -> set[bytes]:
    """Return all directories above the leaves that are not in `without`.

    A leaf is a name with no other name below it.
    """
    known = set(names)
    return parents_of(known - parents_of(known) - without)


def pack_head(offset: int, nbytes: int, crc: int) -> bytes:
    """Return the head of a table's file; its checksum covers the directory and the two numbers.

    Args:
        offset: Where the directory begins in its archive, in bytes.
        nbytes: Length of the directory.
        crc: CRC-32 of the directory.
    """
    return _HEAD.pack(_MAGIC, offset, nbytes, crc32(_PLACE.pack(offset, nbytes), crc))


def parse_file(packed: bytes) -> CentralDirectory:
    """Return the directory in a file that `pack` wrote.

    Raises:
        BrokenTable: The file is of another version, or damaged.
    """
    if len(packed) < HEAD_BYTES:
        raise BrokenTable("a table ends within its head")
    magic, offset, nbytes, crc = _HEAD.unpack_from(packed)
    directory = packed[HEAD_BYTES:]
    if magic != _MAGIC:
        raise BrokenTable(f"a table of another version begins with {magic!r}")
    if nbytes != len(directory) or crc != crc32(_PLACE.pack(offset, nbytes), crc32(directory)):
        raise BrokenTable(f"a table of {nbytes} bytes is cut or damaged")
    return CentralDirectory(directory, offset)


class End(NamedTuple):
    """Facts about a directory in the records that end an archive."""

    entries: int
    offset: int
    nbytes: int


def parse_end(tail: bytes) -> End:
    """Return the facts in an archive's end records.

    Args:
        tail: The last `END_BYTES` bytes of the archive; all of it if it is shorter.

    Raises:
        BrokenTable: The records are not there, or a comment follows.
    """
    begin = len(tail) - _END.size
    if begin < 0:
        raise BrokenTable("an archive ends before its end record")
    signature, count, entries, nbytes, offset, comment = _END.unpack_from(tail, begin)
    if signature != b"PK\x05\x06" or comment or count != entries:
        raise BrokenTable("an archive does not end as ours do")
    if entries != _LIMIT_16 and LIMIT_32 not in (nbytes, offset):
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
            if member == LIMIT_32:
                member = wide_offset(directory, position)
            if signature != _SIGNATURE or member <= before:
                raise BrokenTable(f"no header of ours at byte {position} of a directory")
            positions.append(position)
            offsets.append(member)
            position += length
            before = member
    except StructError as error:
        raise BrokenTable("a directory ends within a header") from error
    except ValueError as error:
        raise BrokenTable(f"{error}, at byte {position} of a directory") from error
    if position != end or before >= offset or (positions and offsets[0]):
        raise BrokenTable("a directory does not fit its archive")
    positions.append(end)
    offsets.append(offset)
    return Table(directory, positions, offsets)
