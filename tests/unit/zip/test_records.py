"""The records of a zip file: limits tested without gigabytes, and readers that agree."""

import io
import struct
import time
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.archive.delta.planning.entry_table import END_BYTES, parse_end
from asyncbuild.domain.errors import Reject
from asyncbuild.zip.format.central_directory import (
    BLOB_ID_EXTRA,
    CentralHeaders,
    add_id,
    blob_id_of,
    move_headers,
    pack_attributes,
    pack_central,
)
from asyncbuild.zip.format.records import (
    DEFLATED,
    STORED,
    StreamedEntry,
    dos_time,
    name_flags,
    pack_end,
    pack_local,
)

_GIB = 1 << 30
_LIMIT = 0xFFFFFFFF
_TIME = dos_time(1_700_000_000)


def _directory_of(entries: Sequence[bytes], base: int, ids: Sequence[bytes] = ()) -> bytes:
    headers = CentralHeaders.of(entries)
    directory = (headers.with_ids(ids) if ids else headers).moved(base)
    return directory + pack_end(entries=len(entries), offset=base, nbytes=len(directory))


def _infos(packed: bytes, begins: int) -> list[zipfile.ZipInfo]:
    """Return entries as Python's reader finds them, with `begins` bytes before the directory."""

    class Behind(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            if whence == io.SEEK_SET:
                return super().seek(offset - begins) + begins
            return super().seek(offset, whence) + begins

        def tell(self) -> int:
            return super().tell() + begins

    return zipfile.ZipFile(Behind(packed)).infolist()


def _stored(name: bytes, offset: int, mode: int = 0o100644) -> bytes:
    local = pack_local(name, STORED, _TIME, (0x1234, 5, 5))
    return pack_central(local, pack_attributes(mode), offset, name)


@pytest.mark.parametrize("offset", [0, 3 * _GIB, _LIMIT - 1, _LIMIT, _LIMIT + 1, 100 * _GIB])
def test_offsets_around_the_limit(offset: int) -> None:
    """From 4 GiB - 1 on, an offset is in the zip64 extra field, and is read from there."""
    base = max(0, offset - 100)
    (info,) = _infos(_directory_of([_stored(b"a", offset - base)], base), base)
    assert info.header_offset == offset
    assert info.extract_version == (45 if offset >= _LIMIT else 20)


@pytest.mark.parametrize("size", [_LIMIT - 1, _LIMIT, _LIMIT + 1, 9 * _GIB])
@pytest.mark.parametrize("compressed", [100, _LIMIT - 1, _LIMIT, 9 * _GIB])
@pytest.mark.parametrize("offset", [7, 5 * _GIB])
def test_sizes_around_the_limit(size: int, compressed: int, offset: int) -> None:
    """Each of the three fields is in the zip64 extra field if, and only if, it does not fit."""
    streamed = StreamedEntry(
        b"big",
        mode=0o100755,
        time=_TIME,
        size=size,
        is_zip64=max(size, compressed) >= _LIMIT,
    )
    header, _ = streamed.finish(crc=0xCAFE, compressed_size=compressed, offset=offset)
    wide = [one for one in (size, compressed, offset) if one >= _LIMIT]
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    assert header.endswith(b"big" + extra)
    (info,) = _infos(header + pack_end(entries=1, offset=20 * _GIB, nbytes=len(header)), 20 * _GIB)
    assert (size, compressed, offset) == (info.file_size, info.compress_size, info.header_offset)
    assert (info.CRC, info.compress_type) == (0xCAFE, DEFLATED)
    assert info.extract_version == (45 if wide else 20)
    (info,) = _infos(_directory_of([header], 20 * _GIB), 20 * _GIB)
    offset += 20 * _GIB
    assert (size, compressed, offset) == (info.file_size, info.compress_size, info.header_offset)


@pytest.mark.parametrize("is_zip64", [False, True])
@pytest.mark.parametrize("size", [1000, _LIMIT - 1])
def test_a_data_descriptor_has_64_bits_where_the_header_says_so(
    size: int, *, is_zip64: bool
) -> None:
    """Readers tell the descriptor's width from the extra field."""
    streamed = StreamedEntry(b"s", mode=0o100644, time=_TIME, size=size, is_zip64=is_zip64)
    header = streamed.pack_local()
    _, descriptor = streamed.finish(crc=1, compressed_size=7, offset=0)
    assert (20 if is_zip64 else 0) == struct.unpack_from("<H", header, 28)[0]
    assert (45 if is_zip64 else 20) == struct.unpack_from("<H", header, 4)[0]
    expected = struct.pack("<4sLQQ" if is_zip64 else "<4sLLL", b"PK\7\x08", 1, 7, size)
    assert expected == descriptor


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536])
def test_entry_counts_around_the_limit(count: int) -> None:
    """65,535 entries and more are counted by the zip64 records."""
    packed = _directory_of([_stored(b"%d" % number, 0) for number in range(count)], 0)
    assert count == len(_infos(packed, 0))
    assert (b"PK\6\6" in packed[-98:]) == (count >= 65_535)


def test_blob_ids_are_in_the_directory() -> None:
    """Only the entries that have one get the extra field."""
    entries = [_stored(b"a", 0), _stored(b"b", 40), _stored(b"c", 80)]
    first, second, third = _infos(_directory_of(entries, 0, [b"\x11" * 20, b"", b"\x22" * 32]), 0)
    assert struct.pack("<HH", BLOB_ID_EXTRA, 20) + b"\x11" * 20 == first.extra
    assert second.extra == b""
    assert struct.pack("<HH", BLOB_ID_EXTRA, 32) + b"\x22" * 32 == third.extra


def test_an_id_follows_a_wide_offset() -> None:
    """Extra fields follow each other, each with its length, as in the specification."""
    (info,) = _infos(_directory_of([_stored(b"a", 5)], 8 * _GIB, [b"\x11" * 20]), 8 * _GIB)
    wide = struct.pack("<HHQ", 1, 8, 8 * _GIB + 5)
    assert info.extra == wide + struct.pack("<HH", BLOB_ID_EXTRA, 20) + b"\x11" * 20
    assert info.header_offset == 8 * _GIB + 5


@given(st.binary(min_size=1, max_size=50))
def test_the_utf8_flag(name: bytes) -> None:
    """Set for names that are UTF-8 and not ASCII; other bytes go without it."""
    try:
        expected = 0 if name.isascii() else bool(name.decode())
    except UnicodeDecodeError:
        expected = False
    assert bool(name_flags(name)) == expected


def test_a_name_that_is_too_long_is_rejected() -> None:
    """The limit is 65,535 bytes; the error shows the beginning of the name."""
    assert name_flags(b"n" * 65_535) == 0
    with pytest.raises(Reject, match="65536 bytes"):
        name_flags(b"n" * 65_536)


@given(st.integers(-(1 << 40), 1 << 40))
def test_dos_times(timestamp: int) -> None:
    """Two-second steps in UTC from 1980 to 2107, and the nearest outside of that."""
    packed = dos_time(timestamp)
    date, time = packed >> 16, packed & 0xFFFF
    moment = datetime(
        *(1980 + (date >> 9), date >> 5 & 15, date & 31),
        *(time >> 11, time >> 5 & 63, 2 * (time & 31)),
        tzinfo=UTC,
    )
    low, high = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC)
    expected = min(max(timestamp - timestamp % 2, low.timestamp()), high.timestamp())
    assert expected == moment.timestamp()


@pytest.mark.parametrize(
    ("mode", "is_directory"), [(0o100755, False), (0o120777, False), (0o040775, True)]
)
def test_modes(mode: int, *, is_directory: bool) -> None:
    """Unix modes in the upper half of the external attributes, made by Unix."""
    name = b"d/" if is_directory else b"f"
    (info,) = _infos(_directory_of([_stored(name, 0, mode)], 0), 0)
    assert (mode << 16 | (0x10 if is_directory else 0)) == info.external_attr
    assert (3, is_directory) == (info.create_system, info.is_dir())


def test_each_header_has_one_id_or_none() -> None:
    """A list of another length would give entries the ids of others."""
    headers = CentralHeaders.of([_stored(b"a", 0), _stored(b"b/", 40)])
    assert len(headers) == 2
    assert headers.names() == [b"a", b"b/"]
    assert headers.offsets() == [0, 40]
    for ids in ([b"\1" * 20], [b"\1" * 20] * 3, []):
        with pytest.raises(ValueError, match="zip"):
            headers.with_ids(ids)


def test_ids_are_read_behind_other_extra_fields() -> None:
    """An empty field before it is skipped, too; a header without an id has an empty id."""
    plain = _stored(b"a", 0)
    assert blob_id_of(plain, 0) == b""
    empty = struct.pack("<HH", 0x7855, 0)  # Info-ZIP's Unix owner, which has no data in a directory
    other = bytearray(plain + empty)
    struct.pack_into("<H", other, 30, len(empty))
    for blob_id in (b"\x11" * 20, b"\x22" * 32):
        directory = plain + add_id(bytes(other), blob_id)
        assert blob_id_of(directory, 0) == b""
        assert blob_id_of(directory, len(plain)) == blob_id
    moved = move_headers(bytes(other), [0, len(other)], _LIMIT)
    assert moved.endswith(empty)
    (info,) = _infos(moved + pack_end(entries=1, offset=2 * _LIMIT, nbytes=len(moved)), 2 * _LIMIT)
    assert info.header_offset == _LIMIT


@pytest.mark.parametrize("name", [b"plain", "größe".encode(), b"\xff"])
@pytest.mark.parametrize("is_zip64", [False, True])
def test_a_local_header_with_a_descriptor_has_no_crc_and_sizes(
    name: bytes, *, is_zip64: bool
) -> None:
    """4.4.4: CRC and sizes are zero, also in a zip64 extra; the descriptor has them."""
    entry = StreamedEntry(name, mode=0o100644, time=_TIME, size=7, is_zip64=is_zip64)
    size, extra = (_LIMIT, struct.pack("<HHQQ", 1, 16, 0, 0)) if is_zip64 else (0, b"")
    flags = 8 | name_flags(name)
    expected = struct.pack(
        "<4sHHHLLLLHH",
        *(b"PK\3\4", 45 if is_zip64 else 20, flags, DEFLATED, _TIME, 0, size, size),
        *(len(name), len(extra)),
    )
    assert entry.pack_local() == expected + name + extra
    central, _ = entry.finish(crc=1, compressed_size=9, offset=3)
    version = 45 if is_zip64 else 20
    assert central == (
        struct.pack(
            "<4sHHHHLLLLHHHHHLL",
            *(b"PK\1\2", 3 << 8 | 63, version, flags, DEFLATED, _TIME, 1, 9, 7),
            *(len(name), 0, 0, 0, 0, 0o100644 << 16, 3),
        )
        + name
    )


@pytest.mark.parametrize("entries", [0, 65_534, 65_535, 65_536, 10**6])
@pytest.mark.parametrize("offset", [0, _LIMIT - 1, _LIMIT, _LIMIT + 1])
@pytest.mark.parametrize("nbytes", [0, _LIMIT - 1, _LIMIT, _LIMIT + 1])
def test_the_end_record_has_each_number_where_it_fits(
    entries: int, offset: int, nbytes: int
) -> None:
    """4.3.14 to 4.3.16: in the old record if it fits; otherwise in the zip64 records."""
    wide = entries >= 65_535 or offset >= _LIMIT or nbytes >= _LIMIT
    count = min(entries, 65_535)
    expected = struct.pack(
        "<4sHHHHLLH",
        *(b"PK\5\6", 0, 0, count, count, min(nbytes, _LIMIT), min(offset, _LIMIT), 0),
    )
    if wide:
        expected = (
            struct.pack(
                "<4sQHHLLQQQQ",
                *(b"PK\6\6", 44, 3 << 8 | 63, 45, 0, 0, entries, entries, nbytes, offset),
            )
            + struct.pack("<4sLQL", b"PK\6\7", 0, offset + nbytes, 1)
            + expected
        )
    packed = pack_end(entries=entries, offset=offset, nbytes=nbytes)
    assert packed == expected
    assert parse_end(packed[-END_BYTES:]) == (entries, offset, nbytes)


def test_times_are_in_utc_in_any_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are equal on each machine (I8)."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert dos_time(1_700_000_000) == _TIME
        assert dos_time(0) == dos_time(315_532_800) == 1 << 21 | 1 << 16
    finally:
        monkeypatch.undo()
        time.tzset()
