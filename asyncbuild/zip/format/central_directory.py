"""Central directory headers: one per member, with its attributes and offset.

See APPNOTE.TXT 6.3.10, 4.3.12. The packer of a run writes them as if the run began the archive.
They are moved when the run's offset is known, and get their blob ids when those are known. The
header of a large member is written after its last block.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from stat import S_ISDIR
from struct import Struct
from typing import Final, Self

VERSION: Final = 20  # 4.4.3.2, needed to extract: deflate and directories
VERSION_64: Final = 45
MADE_BY_UNIX: Final = 3 << 8 | 63  # 4.4.2, by version 6.3 of the specification
LIMIT_32: Final = 0xFFFFFFFF
SHORT: Final = Struct("<H")
NAME_LENGTH_AT: Final = 28
# Own extra field: the raw id of the git object that the entry was made from. Only in the central
# directory.
BLOB_ID_EXTRA: Final = int.from_bytes(b"GB", "little")  # none of the ids in section 4.5.2

# Signature and "made by"; a copy of the local header from "version needed" up to the length of
# extra; lengths of extra and comment, disk, internal and external attributes; offset
_CENTRAL: Final = Struct("<6s24s12sL")
_HEAD: Final = Struct("<LH").pack(0x02014B50, MADE_BY_UNIX)
_SAME: Final = slice(4, 28)
_ATTRIBUTES: Final = Struct("<HHHHL")
HEADER_BYTES: Final = _CENTRAL.size  # without name and extra field

_LENGTHS: Final = Struct("<28xHH10xL")  # of name and extra; then the offset
_SIZES: Final = Struct("<20xLL")
_OFFSET: Final = Struct("<L")
_OFFSET_AT: Final = 42
_VERSION_AT: Final = 6
_EXTRA_LENGTH_AT: Final = 30
_EXTRA: Final = Struct("<HH")  # 4.5.1: id, length
_ZIP64_EXTRA: Final = 0x0001
_WIDE_BYTES: Final = 8  # of each value in a zip64 extra field
_DOS_DIRECTORY: Final = 1 << 4
# Object ids have 20 bytes (SHA-1) or 32 (SHA-256)
_ID_HEADS: Final = {size: _EXTRA.pack(BLOB_ID_EXTRA, size) for size in (20, 32)}


def pack_attributes(mode: int, extra_length: int = 0) -> bytes:
    """Return the fields of a central header that lie between the name's length and the offset.

    Args:
        mode: An `st_mode`, for the external attributes.
        extra_length: Length of the extra field, in bytes.
    """
    attributes = mode << 16 | (_DOS_DIRECTORY if S_ISDIR(mode) else 0)
    return _ATTRIBUTES.pack(extra_length, 0, 0, 0, attributes)


def pack_central(local: bytes, attributes: bytes, offset: int, name: bytes) -> bytes:
    """Return a central header without extra field; the offset must fit in 32 bits.

    Args:
        local: The local header of the entry.
        attributes: Fields that `pack_attributes` returned.
        offset: Where the local header begins in the archive, in bytes.
        name: The raw path.
    """
    return _CENTRAL.pack(_HEAD, local[_SAME], attributes, offset) + name


def pack_wide(*values: int) -> bytes:
    """Return a zip64 extra field (4.5.3).

    `values` are those that do not fit in 32 bits, in the order size, compressed size, offset.
    """
    packed = b"".join(value.to_bytes(_WIDE_BYTES, "little") for value in values)
    return _EXTRA.pack(_ZIP64_EXTRA, len(packed)) + packed


@dataclass(frozen=True, slots=True)
class CentralHeaders:
    """Central directory headers of consecutive entries, concatenated in `packed`.

    `positions` holds the offset of each header in `packed`, then the length of `packed`.
    """

    packed: bytes
    positions: Sequence[int]

    @classmethod
    def of(cls, headers: Sequence[bytes]) -> Self:
        """Concatenate `headers`."""
        return cls(b"".join(headers), list(accumulate(map(len, headers), initial=0)))

    def __len__(self) -> int:
        return len(self.positions) - 1

    def names(self) -> list[bytes]:
        """Return raw paths; a directory's ends in a slash."""
        return [name_at(self.packed, position) for position in self.positions[:-1]]

    def offsets(self) -> list[int]:
        """Return offsets of the members in their run; a run is shorter than 4 GiB."""
        packed, unpack = self.packed, _OFFSET.unpack_from
        return [unpack(packed, position + _OFFSET_AT)[0] for position in self.positions[:-1]]

    def with_ids(self, blob_ids: Iterable[bytes]) -> "CentralHeaders":
        """Return copies with these raw object ids, one per header; an empty id adds nothing."""
        packed = self.packed
        ranges = pairwise(self.positions)
        return CentralHeaders.of(
            [
                add_id(packed[begin:end], blob_id) if blob_id else packed[begin:end]
                for (begin, end), blob_id in zip(ranges, blob_ids, strict=True)
            ]
        )

    def moved(self, by: int) -> bytes:
        """Return the headers as they are in an archive with `by` bytes before the run."""
        return move_headers(self.packed, self.positions, by)


def add_id(header: bytes, blob_id: bytes) -> bytes:
    """Return a header with the raw id of an object, after its other extra fields."""
    extra = _ID_HEADS[len(blob_id)] + blob_id
    (length,) = SHORT.unpack_from(header, _EXTRA_LENGTH_AT)
    length_end = _EXTRA_LENGTH_AT + SHORT.size
    return b"".join(
        (header[:_EXTRA_LENGTH_AT], SHORT.pack(length + len(extra)), header[length_end:], extra)
    )


def move_headers(directory: bytes, positions: Sequence[int], by: int) -> bytes:
    """Return headers whose members are moved by `by` bytes, towards the beginning if negative.

    Args:
        directory: Buffer that holds the headers.
        positions: Offsets of consecutive headers in it, then the end of the last one.
        by: Distance in bytes.
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
        if offset == LIMIT_32 or offset + by >= LIMIT_32:
            wide.append(position)
        else:
            pack(moved, at, offset + by)
    return _move_wide(directory, moved, begin, wide, by) if wide else bytes(moved)


def _move_wide(directory: bytes, moved: bytearray, begin: int, wide: list[int], by: int) -> bytes:
    """Replace the headers whose offset is, or will be, in a zip64 extra field."""
    pieces: list[bytes | memoryview] = []
    done = 0
    for position in wide:
        name, extra, offset = _LENGTHS.unpack_from(directory, position)
        if offset == LIMIT_32:
            offset = wide_offset(directory, position)
        at = position - begin
        pieces += (memoryview(moved)[done:at], _repack(directory, position, offset + by))
        done = at + HEADER_BYTES + name + extra
    return b"".join((*pieces, memoryview(moved)[done:]))


def _repack(directory: bytes, position: int, offset: int) -> bytes:
    """Return a header with another offset, in a zip64 extra field only if it needs one (4.5.3)."""
    name_end, extras = _extras_of(directory, position)
    wide = extras.pop(_ZIP64_EXTRA, b"")[: _wide_sizes_bytes(directory, position)]
    if offset >= LIMIT_32:
        wide += offset.to_bytes(_WIDE_BYTES, "little")
    if wide:
        extras = {_ZIP64_EXTRA: wide, **extras}
    packed = b"".join(_EXTRA.pack(kind, len(one)) + one for kind, one in extras.items())
    header = bytearray(directory[position:name_end])
    SHORT.pack_into(header, _VERSION_AT, VERSION_64 if wide else VERSION)
    SHORT.pack_into(header, _EXTRA_LENGTH_AT, len(packed))
    _OFFSET.pack_into(header, _OFFSET_AT, min(offset, LIMIT_32))
    return bytes(header) + packed


def wide_offset(directory: bytes, position: int) -> int:
    """Return the offset in the zip64 extra field of the header at `position`.

    It is behind those sizes that do not fit in 32 bits.

    Raises:
        ValueError: The header has no such field, or the field is too short.
    """
    _, extras = _extras_of(directory, position)
    begin = _wide_sizes_bytes(directory, position)
    offset = extras.get(_ZIP64_EXTRA, b"")[begin : begin + _WIDE_BYTES]
    if len(offset) < _WIDE_BYTES:
        raise ValueError("a header lacks its offset")
    return int.from_bytes(offset, "little")


def name_at(directory: bytes, position: int) -> bytes:
    """Return the raw path in the header at `position`; a directory's ends in a slash."""
    (length,) = SHORT.unpack_from(directory, position + NAME_LENGTH_AT)
    begin = position + HEADER_BYTES
    return directory[begin : begin + length]


def blob_id_of(directory: bytes, position: int) -> bytes:
    """Return the object id in the header at `position`, empty if there is none."""
    return _extras_of(directory, position)[1].get(BLOB_ID_EXTRA, b"")


def _wide_sizes_bytes(directory: bytes, position: int) -> int:
    return _WIDE_BYTES * _SIZES.unpack_from(directory, position).count(LIMIT_32)


def _extras_of(directory: bytes, position: int) -> tuple[int, dict[int, bytes]]:
    """Return where the name ends, and the extra fields behind it, by id."""
    name_length, extra_length, _ = _LENGTHS.unpack_from(directory, position)
    name_end = position + HEADER_BYTES + name_length
    return name_end, dict(_iter_extras(directory[name_end : name_end + extra_length]))


def _iter_extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        yield kind, extra[position : position + length]
        position += length
