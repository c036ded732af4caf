"""Central headers: each says of one member what it is and where (APPNOTE.TXT 6.3.10, 4.3.12).

Whoever packs members writes these, too, as if the first of them began the archive. They are moved
when it is known where it lies, and get their blob ids when those are known.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from struct import Struct
from typing import Final, Self

from asyncbuild.archive.zip import ZIP64_EXTRA

HEADER_BYTES: Final = 46  # without name and extra field
# Ours: the raw id of the git object that the entry was made of. In the directory alone.
BLOB_ID_EXTRA: Final = int.from_bytes(b"GB", "little")  # none of the ids in section 4.5.2

_INDEXED: Final = Struct("<28xHH10xL")  # lengths of name and extra, offset
_SIZES: Final = Struct("<20xLL")
_OFFSET: Final = Struct("<L")
_OFFSET_AT: Final = 42
_SHORT: Final = Struct("<H")
_VERSION_AT: Final = 6
_NAME_LENGTH_AT: Final = 28
_EXTRA_LENGTH_AT: Final = 30
_VERSION: Final = 20  # 4.4.3.2: deflate and directories
_VERSION_64: Final = 45
_EXTRA: Final = Struct("<HH")  # 4.5.1: id, length
_LIMIT_32: Final = 0xFFFFFFFF
# Of 20 bytes (SHA-1) or 32 (SHA-256)
_ID_HEADS: Final = {size: _EXTRA.pack(BLOB_ID_EXTRA, size) for size in (20, 32)}


@dataclass(frozen=True, slots=True)
class Headers:
    """Those of neighbours in an archive, one after the other in `packed`.

    `positions` says where each begins, and at last how long all of them are.
    """

    packed: bytes
    positions: Sequence[int]

    @classmethod
    def of(cls, headers: Sequence[bytes]) -> Self:
        """These."""
        return cls(b"".join(headers), list(accumulate(map(len, headers), initial=0)))

    def __len__(self) -> int:
        return len(self.positions) - 1

    def names(self) -> list[bytes]:
        """Raw paths, those of directories ending in a slash."""
        packed, unpack = self.packed, _SHORT.unpack_from
        found = []
        for position in self.positions[:-1]:
            (length,) = unpack(packed, position + _NAME_LENGTH_AT)
            begin = position + HEADER_BYTES
            found.append(packed[begin : begin + length])
        return found

    def offsets(self) -> list[int]:
        """Where their members begin; none is as far away as 4 GiB."""
        packed, unpack = self.packed, _OFFSET.unpack_from
        return [unpack(packed, position + _OFFSET_AT)[0] for position in self.positions[:-1]]

    def with_ids(self, blob_ids: Iterable[bytes]) -> "Headers":
        """The same with raw object ids, one for each of them; where that is empty, without."""
        packed = self.packed
        ranges = pairwise(self.positions)
        return Headers.of(
            [
                add_id(packed[begin:end], blob_id) if blob_id else packed[begin:end]
                for (begin, end), blob_id in zip(ranges, blob_ids, strict=True)
            ]
        )

    def moved(self, by: int) -> bytes:
        """As `move`."""
        return move(self.packed, self.positions, by)


def add_id(header: bytes, blob_id: bytes) -> bytes:
    """A header with the raw id of an object, behind the extra fields that it has."""
    extra = _ID_HEADS[len(blob_id)] + blob_id
    (length,) = _SHORT.unpack_from(header, _EXTRA_LENGTH_AT)
    length_end = _EXTRA_LENGTH_AT + _SHORT.size
    return b"".join(
        (header[:_EXTRA_LENGTH_AT], _SHORT.pack(length + len(extra)), header[length_end:], extra)
    )


def move(directory: bytes, positions: Sequence[int], by: int) -> bytes:
    """Headers of members that move by so many bytes, back to the beginning if negative.

    Args:
        directory: Has the headers.
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
        name, extra, offset = _INDEXED.unpack_from(directory, position)
        if offset == _LIMIT_32:
            offset = wide_offset(directory, position)
        at = position - begin
        pieces += (memoryview(moved)[done:at], _repack(directory, position, offset + by))
        done = at + HEADER_BYTES + name + extra
    return b"".join((*pieces, memoryview(moved)[done:]))


def _repack(directory: bytes, position: int, offset: int) -> bytes:
    """One header with another offset, in a zip64 extra only if it has to be (4.5.3)."""
    name_end, extras = _extras_of(directory, position)
    wide = extras.pop(ZIP64_EXTRA, b"")[: _wide_sizes_bytes(directory, position)]
    if offset >= _LIMIT_32:
        wide += offset.to_bytes(8, "little")
    if wide:
        extras = {ZIP64_EXTRA: wide, **extras}
    packed = b"".join(_EXTRA.pack(kind, len(one)) + one for kind, one in extras.items())
    header = bytearray(directory[position:name_end])
    _SHORT.pack_into(header, _VERSION_AT, _VERSION_64 if wide else _VERSION)
    _SHORT.pack_into(header, _EXTRA_LENGTH_AT, len(packed))
    _OFFSET.pack_into(header, _OFFSET_AT, min(offset, _LIMIT_32))
    return bytes(header) + packed


def wide_offset(directory: bytes, position: int) -> int:
    """What the zip64 extra of the header at `position` says; -1 if it does not.

    The sizes that do not fit come first, in their order, then the offset (4.5.3).
    """
    _, extras = _extras_of(directory, position)
    begin = _wide_sizes_bytes(directory, position)
    offset = extras.get(ZIP64_EXTRA, b"")[begin : begin + 8]
    return int.from_bytes(offset, "little") if len(offset) == 8 else -1  # noqa: PLR2004 - 64 bits


def blob_id_of(directory: bytes, position: int) -> bytes:
    """The id in the header at `position`, empty if there is none."""
    return _extras_of(directory, position)[1].get(BLOB_ID_EXTRA, b"")


def _wide_sizes_bytes(directory: bytes, position: int) -> int:
    return 8 * _SIZES.unpack_from(directory, position).count(_LIMIT_32)


def _extras_of(directory: bytes, position: int) -> tuple[int, dict[int, bytes]]:
    """Where the name ends, and the extra fields behind it."""
    name_length, extra_length, _ = _INDEXED.unpack_from(directory, position)
    name_end = position + HEADER_BYTES + name_length
    return name_end, dict(_iter_extras(directory[name_end : name_end + extra_length]))


def _iter_extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _EXTRA.size <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        yield kind, extra[position : position + length]
        position += length
