"""Records of a zip file as bytes: PKWARE's APPNOTE.TXT 6.3.10, with zip64 if it is needed.

A field that cannot hold its value has all bits set, and a zip64 extra field holds the value
(section 4.5.3). Names are flagged as UTF-8 when they are UTF-8 and not plain ASCII (4.4.4, bit 11);
any other bytes are written unchanged. Modes are Unix modes, as Info-ZIP's tools write and read
them.
"""

from datetime import UTC, datetime
from struct import Struct
from typing import Final

from asyncbuild.domain.errors import Reject
from asyncbuild.zip.format.central_directory import (
    LIMIT_32,
    MADE_BY_UNIX,
    VERSION,
    VERSION_64,
    pack_attributes,
    pack_central,
    pack_wide,
)

STORED: Final = 0
DEFLATED: Final = 8

# Section 4.3.7: signature, version needed, flags, method, time and date, CRC-32, compressed size,
# size, length of name, length of extra
_LOCAL: Final = Struct("<LHHHLLLLHH")
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
_DESCRIPTOR_SIGNATURE: Final = 0x08074B50
_END_SIGNATURE: Final = 0x06054B50
_END_64_SIGNATURE: Final = 0x06064B50
_LOCATOR_64_SIGNATURE: Final = 0x07064B50

_DESCRIPTOR_FLAG: Final = 1 << 3
_UTF8_FLAG: Final = 1 << 11

_LIMIT_16: Final = 0xFFFF

_EARLIEST: Final = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())
_LATEST: Final = int(datetime(2107, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


def dos_time(timestamp: int) -> int:
    """Return a time in seconds since the epoch as date (upper half) and time of MS-DOS, in UTC.

    Its resolution is two seconds, from 1980 to 2107; a time outside becomes the nearest one inside.
    """
    moment = datetime.fromtimestamp(min(max(timestamp, _EARLIEST), _LATEST), UTC)
    date = (moment.year - 1980) << 9 | moment.month << 5 | moment.day
    return date << 16 | moment.hour << 11 | moment.minute << 5 | moment.second // 2


def name_flags(name: bytes) -> int:
    """Return the UTF-8 flag if `name` is UTF-8 and not ASCII, otherwise 0.

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


# CRC-32, compressed size and size of an entry, in bytes. A plain tuple, for speed.
Sizes = tuple[int, int, int]


def pack_local(name: bytes, method: int, time: int, sizes: Sizes) -> bytes:
    """Return the local header of an entry whose sizes are known and fit into 32 bits.

    Args:
        name: Raw path.
        method: `STORED` or `DEFLATED`.
        time: A result of `dos_time`.
        sizes: CRC-32 and sizes.

    Raises:
        Reject: A zip file cannot hold a name that long.
    """
    about = (VERSION, name_flags(name), method, time)
    return _LOCAL.pack(_LOCAL_SIGNATURE, *about, *sizes, len(name), 0) + name


class StreamedEntry:
    """An entry whose CRC and compressed size are known only when its contents have been written.

    They follow in a data descriptor (4.3.9). Its sizes have 64 bits if, and only if, the local
    header has a zip64 extra field, which `is_zip64` decides beforehand
    (`zip/format/large_member.py`).

    Args:
        name: Raw path.
        mode: An `st_mode`.
        time: A result of `dos_time`.
        size: Length of the contents in bytes.
        is_zip64: Whether the local header has a zip64 extra field.
    """

    def __init__(self, name: bytes, *, mode: int, time: int, size: int, is_zip64: bool) -> None:
        self._name = name
        self._flags = name_flags(name) | _DESCRIPTOR_FLAG
        self._mode = mode
        self._time = time
        self._size = size
        self.is_zip64 = is_zip64

    def pack_local(self) -> bytes:
        """Return the local header; CRC and sizes are 0, in a zip64 extra field if there is one."""
        extra = pack_wide(0, 0) if self.is_zip64 else b""
        size = LIMIT_32 if self.is_zip64 else 0
        local = self._pack(
            crc=0,
            compressed_size=size,
            size=size,
            is_zip64=self.is_zip64,
            extra_length=len(extra),
        )
        return local + extra

    def finish(self, *, crc: int, compressed_size: int, offset: int) -> tuple[bytes, bytes]:
        """Return the entry's central header and its data descriptor.

        Args:
            crc: CRC-32 of the contents.
            compressed_size: Length of the deflated contents in bytes.
            offset: Where the local header is in the archive, in bytes.
        """
        descriptor = (_DESCRIPTOR_64 if self.is_zip64 else _DESCRIPTOR).pack(
            _DESCRIPTOR_SIGNATURE, crc, compressed_size, self._size
        )
        wide = [one for one in (self._size, compressed_size, offset) if one >= LIMIT_32]
        extra = pack_wide(*wide) if wide else b""
        local = self._pack(
            crc=crc,
            compressed_size=min(compressed_size, LIMIT_32),
            size=min(self._size, LIMIT_32),
            is_zip64=self.is_zip64 or bool(wide),
        )
        attributes = pack_attributes(self._mode, len(extra))
        central = pack_central(local, attributes, min(offset, LIMIT_32), self._name)
        return central + extra, descriptor

    def _pack(
        self, *, crc: int, compressed_size: int, size: int, is_zip64: bool, extra_length: int = 0
    ) -> bytes:
        version = VERSION_64 if is_zip64 else VERSION
        header = _LOCAL.pack(
            *(_LOCAL_SIGNATURE, version, self._flags, DEFLATED, self._time, crc),
            *(compressed_size, size, len(self._name), extra_length),
        )
        return header + self._name


def pack_end(*, entries: int, offset: int, nbytes: int) -> bytes:
    """Return the records after a directory of `entries` headers and `nbytes` at `offset`.

    Args:
        entries: Number of headers.
        offset: Where the directory begins in the archive, in bytes.
        nbytes: Length of the directory.
    """
    end = b""
    if entries >= _LIMIT_16 or max(offset, nbytes) >= LIMIT_32:
        end = _END_64.pack(
            *(_END_64_SIGNATURE, _END_64.size - 12, MADE_BY_UNIX, VERSION_64, 0, 0),
            *(entries, entries, nbytes, offset),
        )
        end += _LOCATOR_64.pack(_LOCATOR_64_SIGNATURE, 0, offset + nbytes, 1)
    count = min(entries, _LIMIT_16)
    where = (min(nbytes, LIMIT_32), min(offset, LIMIT_32))
    return end + _END.pack(_END_SIGNATURE, 0, 0, count, count, *where, 0)
