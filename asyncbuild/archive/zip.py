"""The records of a zip file as bytes: PKWARE's APPNOTE.TXT 6.3.10, with zip64 where it is needed.

A field that cannot hold its value has all bits set, and a zip64 extra field holds the value
(section 4.5.3). Names are flagged as UTF-8 when they are UTF-8 and not plain ASCII (4.4.4, bit 11);
any other bytes go as they are. Modes are Unix modes, as Info-ZIP's tools write and read them.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from stat import S_ISDIR
from struct import Struct
from typing import Final, NamedTuple

from asyncbuild.errors import Reject

STORED: Final = 0
DEFLATED: Final = 8

# Section 4.3.7: signature, version needed, flags, method, time and date, CRC-32, compressed size,
# size, length of name, length of extra
_LOCAL: Final = Struct("<LHHHLLLLHH")
# 4.3.12: signature, made by, version needed, flags, method, time and date, CRC-32, compressed size,
# size, lengths of name, extra and comment, disk, internal and external attributes, offset
_CENTRAL: Final = Struct("<LHHHHLLLLHHHHHLL")
# 4.3.9: signature, CRC-32, compressed size, size
_DESCRIPTOR: Final = Struct("<LLLL")
_DESCRIPTOR_64: Final = Struct("<LLQQ")
# 4.3.16: signature, two disks, two counts, directory's size and offset, length of comment
_END: Final = Struct("<LHHHHLLH")
# 4.3.14: signature, length of the rest, made by, version needed, then as above
_END_64: Final = Struct("<LQHHLLQQQQ")
# 4.3.15: signature, disk, offset of the zip64 end, disks
_LOCATOR_64: Final = Struct("<LLQL")

_LOCAL_SIGNATURE: Final = 0x04034B50
_CENTRAL_SIGNATURE: Final = 0x02014B50
_DESCRIPTOR_SIGNATURE: Final = 0x08074B50
_END_SIGNATURE: Final = 0x06054B50
_END_64_SIGNATURE: Final = 0x06064B50
_LOCATOR_64_SIGNATURE: Final = 0x07064B50

_VERSION: Final = 20  # deflate and directories
_VERSION_64: Final = 45
_MADE_BY_UNIX: Final = 3 << 8 | 63  # by version 6.3 of the specification
_DESCRIPTOR_FLAG: Final = 1 << 3
_UTF8_FLAG: Final = 1 << 11
_DOS_DIRECTORY: Final = 1 << 4

_LIMIT_16: Final = 0xFFFF
_LIMIT_32: Final = 0xFFFFFFFF
_ZIP64_EXTRA: Final = 0x0001
# Ours: the raw id of the git object that the entry was made of. In the directory alone.
BLOB_ID_EXTRA: Final = int.from_bytes(b"GB", "little")  # none of the ids in section 4.5.2

_EARLIEST: Final = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())
_LATEST: Final = int(datetime(2107, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


class Entry(NamedTuple):
    """What the archive says about one member. Sizes are in bytes.

    `offset` of the local header counts from the beginning of the part of the archive that the entry
    came with; `pack_directory` is told where that part lies.
    """

    name: bytes
    mode: int  # st_mode
    dos_time: int
    flags: int
    method: int
    crc: int
    compressed_size: int
    size: int
    offset: int


def dos_time(timestamp: int) -> int:
    """Seconds since the epoch as date (upper half) and time of MS-DOS, in UTC.

    It has steps of two seconds from 1980 to 2107; anything outside becomes the nearest in it.
    """
    moment = datetime.fromtimestamp(min(max(timestamp, _EARLIEST), _LATEST), UTC)
    date = (moment.year - 1980) << 9 | moment.month << 5 | moment.day
    return date << 16 | moment.hour << 11 | moment.minute << 5 | moment.second // 2


def name_flags(name: bytes) -> int:
    """The UTF-8 flag if `name` needs and deserves it.

    Raises:
        Reject: A zip file cannot hold a name that long.
    """
    if len(name) > _LIMIT_16:
        raise Reject(
            f"The path {name[:64]!r}... has {len(name)} bytes; a zip file holds up to {_LIMIT_16}"
        )
    if name.isascii():
        return 0
    try:
        name.decode()
    except UnicodeDecodeError:
        return 0
    return _UTF8_FLAG


def pack_local(entry: Entry) -> bytes:
    """The local header of an entry whose sizes are known and fit into 32 bits."""
    name, _, time, flags, method, crc, compressed_size, size, _ = entry
    return (
        _LOCAL.pack(
            *(_LOCAL_SIGNATURE, _VERSION, flags, method, time, crc, compressed_size, size),
            *(len(name), 0),
        )
        + name
    )


class StreamedEntry:
    """An entry whose CRC and compressed size are known only when its contents have been written.

    They follow in a data descriptor (4.3.9). Its sizes have 64 bits if, and only if, the local
    header has a zip64 extra field; `size` and `largest_compressed_size` decide that beforehand.
    """

    def __init__(
        self, name: bytes, *, mode: int, dos_time: int, size: int, largest_compressed_size: int
    ) -> None:
        self._is_zip64 = max(size, largest_compressed_size) >= _LIMIT_32
        flags = name_flags(name) | _DESCRIPTOR_FLAG
        self._entry = Entry(name, mode, dos_time, flags, DEFLATED, 0, 0, size, 0)

    def pack_local(self) -> bytes:
        """The local header; CRC and sizes are zero, or left to a zip64 extra of zeros."""
        entry = self._entry
        version, size, extra = _VERSION, 0, b""
        if self._is_zip64:
            version, size, extra = _VERSION_64, _LIMIT_32, _pack_zip64([0, 0])
        header = _LOCAL.pack(
            *(_LOCAL_SIGNATURE, version, entry.flags, DEFLATED, entry.dos_time, 0, size, size),
            *(len(entry.name), len(extra)),
        )
        return header + entry.name + extra

    def finish(self, crc: int, compressed_size: int) -> tuple[Entry, bytes]:
        """The entry as it is now known, and its data descriptor."""
        layout = _DESCRIPTOR_64 if self._is_zip64 else _DESCRIPTOR
        entry = self._entry._replace(crc=crc, compressed_size=compressed_size)
        return entry, layout.pack(_DESCRIPTOR_SIGNATURE, crc, compressed_size, entry.size)


def pack_directory(
    entries: Iterable[Entry], base: int, blob_ids: Mapping[bytes, bytes] | None = None
) -> bytes:
    """Central directory headers of entries whose part of the archive begins at `base`.

    `blob_ids` are raw object ids by name; entries with one get it as an extra field.
    """
    packed = []
    pack = _CENTRAL.pack
    for name, mode, time, flags, method, crc, compressed_size, size, relative in entries:
        version, extra, offset = _VERSION, b"", base + relative
        attributes = mode << 16 | (_DOS_DIRECTORY if S_ISDIR(mode) else 0)
        if max(size, compressed_size, offset) >= _LIMIT_32:
            version = _VERSION_64
            extra = _pack_zip64(
                [value for value in (size, compressed_size, offset) if value >= _LIMIT_32]
            )
            size, compressed_size, offset = (
                min(value, _LIMIT_32) for value in (size, compressed_size, offset)
            )
        if blob_ids and (blob_id := blob_ids.get(name)):
            extra += Struct("<HH").pack(BLOB_ID_EXTRA, len(blob_id)) + blob_id
        header = pack(
            *(_CENTRAL_SIGNATURE, _MADE_BY_UNIX, version, flags, method, time, crc),
            *(compressed_size, size, len(name), len(extra), 0, 0, 0, attributes, offset),
        )
        packed += (header, name, extra)
    return b"".join(packed)


def pack_end(*, entries: int, offset: int, nbytes: int) -> bytes:
    """What follows a directory of `entries` headers and `nbytes` that begins at `offset`."""
    end = b""
    if entries >= _LIMIT_16 or max(offset, nbytes) >= _LIMIT_32:
        end = _END_64.pack(
            *(_END_64_SIGNATURE, _END_64.size - 12, _MADE_BY_UNIX, _VERSION_64, 0, 0),
            *(entries, entries, nbytes, offset),
        )
        end += _LOCATOR_64.pack(_LOCATOR_64_SIGNATURE, 0, offset + nbytes, 1)
    count = min(entries, _LIMIT_16)
    sizes = (min(nbytes, _LIMIT_32), min(offset, _LIMIT_32))
    return end + _END.pack(_END_SIGNATURE, 0, 0, count, count, *sizes, 0)


def _pack_zip64(values: list[int]) -> bytes:
    """Section 4.5.3: only what its own field could not hold, in the order of the fields."""
    return Struct(f"<HH{len(values)}Q").pack(_ZIP64_EXTRA, 8 * len(values), *values)
