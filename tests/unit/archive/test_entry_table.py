"""The entry table: read from archives of any size, moved, and rejected when damaged."""

import io
import struct
import zipfile
from array import array
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.archive.delta.planning.entry_table import (
    BrokenTable,
    CentralDirectory,
    parents_of,
    parse_directory,
    parse_end,
    parse_file,
)
from asyncbuild.zip.format.central_directory import move_headers

_ID = bytes(range(20))


def _header(
    name: bytes, offset: int, *, size: int = 1, blob_id: bytes = _ID, mode: int = 0o100664
) -> bytes:
    """A central header written from the specification (4.3.12, 4.5.3), not by our writer."""
    wide = [value for value in (size, size, offset) if value >= 0xFFFFFFFF]
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    if blob_id:
        extra += b"GB" + struct.pack("<H", len(blob_id)) + blob_id
    shown = [min(value, 0xFFFFFFFF) for value in (size, size, offset)]
    return (
        struct.pack(
            "<4sHHHHLLLLHHHHHLL",
            *(b"PK\x01\x02", 0x33F, 45 if wide else 20, 0, 8, 0, 7, shown[0], shown[1]),
            *(len(name), len(extra), 0, 0, 0, mode << 16, shown[2]),
        )
        + name
        + extra
    )


def _headers(offsets: list[int], size: int = 1) -> bytes:
    return b"".join(_header(b"file %d" % n, offset, size=size) for n, offset in enumerate(offsets))


_OFFSETS = st.lists(st.integers(1, 2**33), max_size=6, unique=True).map(lambda o: [0, *sorted(o)])


@given(_OFFSETS, st.integers(0, 2**33), st.sampled_from([1, 2**33]))
def test_moved_headers_are_those_of_the_new_offsets(offsets: list[int], by: int, size: int) -> None:
    """Across 4 GiB, up or down, zip64 extras appear and disappear as in newly written headers."""
    directory = _headers(offsets, size=size)
    table = parse_directory(directory, offsets[-1] + 1)
    moved = move_headers(directory, table.positions, by)
    assert _headers([offset + by for offset in offsets], size=size) == moved
    back = array("Q", [0])
    for n, offset in enumerate(offsets):
        back.append(back[-1] + len(_header(b"file %d" % n, offset + by, size=size)))
    assert directory == move_headers(moved, back, -by)


_LIMIT = 0xFFFFFFFF
_MEMBERS = st.lists(
    st.tuples(
        st.sampled_from([0, 5, _LIMIT - 8, _LIMIT - 7, _LIMIT - 6, _LIMIT, 2**33]),
        st.sampled_from([1, _LIMIT - 1, _LIMIT, 2**33]),
        st.sampled_from([b"", _ID]),
    ),
    min_size=1,
    max_size=6,
)


@given(members=_MEMBERS, by=st.sampled_from([0, 1, 7, 2**33]), data=st.data())
def test_any_run_of_headers_moves_as_the_whole_directory_does(
    members: list[tuple[int, int, bytes]], by: int, data: st.DataObject
) -> None:
    """Runs of neighbours move alike, with sizes and ids of all kinds, across the limit."""

    def headers(by: int) -> list[bytes]:
        return [
            _header(b"file %d" % n, offset + by, size=size, blob_id=blob_id)
            for n, (offset, size, blob_id) in enumerate(members)
        ]

    first = data.draw(st.integers(0, len(members) - 1))
    last = data.draw(st.integers(first + 1, len(members)))
    for here, there, way in ((headers(0), headers(by), by), (headers(by), headers(0), -by)):
        ends = list(accumulate(map(len, here), initial=0))
        moved = move_headers(b"".join(here), ends[first : last + 1], way)
        assert moved == b"".join(there[first:last])


def test_the_middle_of_a_directory_moves_across_the_limit() -> None:
    """The first offset that needs a zip64 extra is 4 GiB - 1; below it the extra is dropped."""
    lead = _header(b"lead", 0, size=2**33)
    for offset in (_LIMIT - 1, _LIMIT, _LIMIT + 1):
        near = _header(b"near", offset - 1)
        ends = [len(lead), len(lead + near)]
        assert move_headers(lead + near, ends, 1) == _header(b"near", offset)
        far = _header(b"near", offset)
        ends = [len(lead), len(lead + far)]
        assert move_headers(lead + far, ends, -1) == near


@given(_OFFSETS)
def test_a_packed_table_is_read_back_whole(offsets: list[int]) -> None:
    """Names, modes and blob ids survive packing and reading."""
    table = parse_directory(_headers(offsets), offsets[-1] + 1)
    found = parse_directory(*parse_file(table.pack()))
    assert table == found
    assert [(b"file %d" % n, 0o100664, _ID) for n in range(len(offsets))] == list(
        found.iter_entries()
    )


@given(st.lists(st.tuples(st.sampled_from([0o100664, 0o120777, 0o40775]), st.booleans())))
def test_each_entry_has_its_own_mode_and_id(kinds: list[tuple[int, bool]]) -> None:
    """An entry without an id gets none; an archive without entries has a table, too."""
    ids = [bytes([n]) * 20 if has_id else b"" for n, (_, has_id) in enumerate(kinds)]
    directory = b"".join(
        _header(b"%d" % n, n, mode=mode, blob_id=ids[n]) for n, (mode, _) in enumerate(kinds)
    )
    table = parse_directory(directory, len(kinds))
    assert len(table) == len(kinds)
    found = parse_directory(*parse_file(table.pack()))
    listed = [(b"%d" % n, mode, ids[n]) for n, (mode, _) in enumerate(kinds)]
    assert list(found.iter_entries()) == listed


@given(st.lists(st.lists(st.sampled_from([b"a", b"b", b"\0", b"ab"]), min_size=1).map(b"/".join)))
def test_parents_are_all_directories_above_a_name(names: list[bytes]) -> None:
    """Each slash ends a parent, except at the end of a name, which is the directory itself."""
    names += [name + b"/" for name in names[::2]]
    expected = {
        name[: at + 1] for name in names for at in range(1, len(name) - 1) if name[at] == ord("/")
    }
    assert parents_of(names) == expected


@given(st.data())
def test_a_damaged_file_is_an_error(data: st.DataObject) -> None:
    """One changed byte, or a missing end, is an error and never another table."""
    packed = parse_directory(_headers([0, 5, 9]), 12).pack()
    at = data.draw(st.integers(0, len(packed) - 1))
    cut = data.draw(st.booleans())
    broken = packed[:at] if cut else packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]
    with pytest.raises(BrokenTable):
        parse_file(broken)


def test_an_entry_is_found_without_an_index() -> None:
    """Each entry is found from a byte of the central directory on; not inside other names."""
    names = [b"a/b", b"b", b"c/b", b"d"]
    offsets = [10 * number for number in range(len(names))]
    content = b"".join(map(_header, names, offsets))
    directory = CentralDirectory(content, 40)
    behind, offset = directory.find(b"b", 0) or (0, 0)
    assert (offset, content[behind - 1 : behind]) == (10, b"b")
    assert directory.find(b"b", behind) is None
    assert (len(content) - 24, 30) == directory.find(b"d", behind)
    others = b"".join(_header(b"%d/d" % number, number) for number in range(99))
    assert CentralDirectory(others + _header(b"d", 99), 100).find(b"d", 0) is None


@given(st.binary(max_size=200), st.integers(0, 300))
def test_random_bytes_are_not_a_directory(noise: bytes, offset: int) -> None:
    """Only the empty central directory of an empty archive is one."""
    if noise or offset:
        with pytest.raises(BrokenTable):
            parse_directory(noise or b"PK", offset)


def test_names_are_found_in_the_directory_of_another_writer() -> None:
    """Python's archives have no gaps either, so their tables can be read."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(70_000):  # needs the zip64 end record
            archive.writestr(f"{number:05}", b"" if number % 2 else b"some text " * 9)
    content = made.getvalue()
    end = parse_end(content[-98:])
    table = parse_directory(content[end.offset : end.offset + end.nbytes], end.offset)
    assert 70_000 == len(table) == end.entries
    assert table.find({b"00003", b"69999", b"70000"}) == [3, 69_999]
    assert end.offset == table.members_bytes


@given(
    st.lists(st.binary(min_size=1, max_size=4), unique=True, max_size=20),
    st.sets(st.binary(min_size=1, max_size=4)),
    st.sampled_from([0, 20]),
)
def test_few_and_many_names_are_found_alike(
    names: list[bytes], others: set[bytes], few: int
) -> None:
    """Few names are searched as bytes, many by headers; names inside other names do not match."""
    directory = b"".join(_header(name, number) for number, name in enumerate(names))
    table = parse_directory(directory, len(names))
    wanted = {*names[::2], *others, *(b"unlikely name %d" % number for number in range(20 - few))}
    expected = [number for number, name in enumerate(names) if name in wanted]
    assert expected == table.find(wanted)
    assert expected == sorted(number for name in wanted for number in table.find({name}))


def test_a_name_that_occurs_in_all_others_is_found() -> None:
    """Two thousand longer names contain the name; only the entry that has exactly it is found."""
    directory = b"".join(_header(b"a" * (n % 9 + 1) + b"%d" % n, n) for n in range(2_000))
    table = parse_directory(directory + _header(b"a", 2_000), 2_001)
    assert table.find({b"a"}) == [2_000]
    assert table.find({b"aaaa400"}) == []


def test_an_archive_with_a_comment_is_not_read() -> None:
    """A comment may contain anything, an end record among it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.comment = b"hello"
    with pytest.raises(BrokenTable):
        parse_end(made.getvalue())


def test_members_out_of_order_are_not_read() -> None:
    """Lengths are computed from the next offset, so headers must be in the order of members."""
    with pytest.raises(BrokenTable):
        parse_directory(_header(b"a", 5) + _header(b"b", 0), 9)


@pytest.mark.parametrize("extra", [b"", struct.pack("<HHQ", 1, 8, 2**33)])
def test_a_missing_wide_offset_is_an_error(extra: bytes) -> None:
    """The offset is announced in an extra field that is absent or too short."""
    name, size = b"a", 0xFFFFFFFF if extra else 1
    header = bytearray(_header(name, 0xFFFFFFFE, blob_id=b"") + extra)
    struct.pack_into("<LL", header, 20, 1, size)
    struct.pack_into("<H", header, 30, len(extra))
    struct.pack_into("<L", header, 42, 0xFFFFFFFF)
    with pytest.raises(BrokenTable, match="lacks its offset"):
        parse_directory(bytes(header), 2**34)


_PATHS = st.lists(
    st.lists(st.sampled_from([b"a", b"b", b"ab"]), min_size=1, max_size=3), max_size=9
)


@given(_PATHS, st.data(), st.sampled_from([0, 100]))
def test_directories_with_entries_below_them_are_found(
    paths: list[list[bytes]], data: st.DataObject, more: int
) -> None:
    """A search by directory and a scan of all names agree; submodules end in a slash, too."""
    directories = parents_of(b"/".join(path) for path in paths)
    ends = st.sampled_from([b"", b"/"])
    leaves = {b"/".join(path) + data.draw(ends) for path in paths}
    leaves = {leaf for leaf in leaves if leaf.rstrip(b"/") + b"/" not in directories}
    names = [*sorted(directories), *sorted(leaves)]
    table = parse_directory(
        b"".join(_header(name, number) for number, name in enumerate(names)), len(names)
    )
    without = data.draw(st.sets(st.sampled_from(names))) if names else set()
    expected = directories & parents_of(leaves - without)
    asked = directories | {b"%d/" % number for number in range(more)}
    assert expected == table.find_filled(asked, without=without)
