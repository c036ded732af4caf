"""The tar reader: whole, byte by byte, and broken."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tars import COMMIT, COMMIT_TIME, File, make_header, make_tar

from asyncbuild.domain.errors import Reject
from asyncbuild.zip.format.tar_headers import (
    LARGEST_EXTENSION_BYTES,
    RECORD_BYTES,
    BrokenTar,
    UnknownMember,
)
from asyncbuild.zip.format.tar_members import Member, Run, iter_members
from asyncbuild.zip.format.tar_reader import Block, LargeMember, TarReader

_WHOLE_BYTES = 2000
_BLOCK_BYTES = 700

_names = st.lists(
    st.binary(min_size=1, max_size=60).filter(
        lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..")
    ),
    min_size=1,
    max_size=6,
).map(b"/".join)
_contents = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([0, 1, 511, 512, 513, 1999, 2000, 2001, 2100, 2800, 5000]).map(bytes),
)
_members = st.one_of(
    st.builds(File, _names, _contents, st.sampled_from([0o644, 0o664, 0o755])),
    st.builds(lambda name: File(name + b"/", mode=0o775), _names),
    st.builds(lambda name, target: File(name, mode=0o777, target=target), _names, _names),
)


def _read(chunks: list[bytes]) -> tuple[list[Member], str | None]:
    """Members with their contents put together, however they came."""
    reader = TarReader(whole_bytes=_WHOLE_BYTES, block_bytes=_BLOCK_BYTES)
    members: list[Member] = []
    for chunk in chunks:
        for piece in reader.feed(chunk):
            match piece:
                case Run():
                    members += [
                        (n, mode, time, bytes(c)) for n, mode, time, c in iter_members(piece)
                    ]
                case LargeMember(name=name, mode=mode, mtime=mtime, size=size):
                    assert size > _WHOLE_BYTES
                    members.append((name, mode, mtime, b""))
                case Block(data=data, last=last):
                    assert last or len(data) == _BLOCK_BYTES
                    name, mode, mtime, content = members[-1]
                    members[-1] = (name, mode, mtime, bytes(content) + data)
    reader.finish()
    return members, reader.commit


def _expected(file: File) -> Member:
    if file.target is not None:
        return file.name, 0o120000 | file.mode, COMMIT_TIME, file.target
    kind = 0o040000 if file.name.endswith(b"/") else 0o100000
    return file.name, kind | file.mode, COMMIT_TIME, file.content


@settings(deadline=None)
@given(st.lists(_members, max_size=8), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_a_whole_tar_is_read(files: list[File], kind: int) -> None:
    """Members are read in order, with pax and with GNU long names."""
    stream = make_tar(files, kind=kind, commit=COMMIT if kind == tarfile.PAX_FORMAT else None)
    members, commit = _read([stream])
    assert [_expected(file) for file in files] == members
    assert commit == (COMMIT if kind == tarfile.PAX_FORMAT else None)


@settings(deadline=None, max_examples=50)
@given(st.lists(_members, max_size=6), st.lists(st.integers(1, 3000), max_size=30))
def test_chunks_of_any_size(files: list[File], sizes: list[int]) -> None:
    """Members do not depend on where the stream is cut into chunks."""
    stream = make_tar(files)
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    assert [_expected(file) for file in files] == _read([*chunks, stream])[0]


def test_a_tar_is_read_byte_by_byte() -> None:
    """One byte at a time reads the same members."""
    files = [File(b"a" * 150, b"x" * 2500), File(b"d/"), File(b"l", target=b"t" * 120)]
    stream = make_tar(files)
    chunks = [stream[index : index + 1] for index in range(len(stream))]
    assert _read([stream]) == _read(chunks)


def test_every_cut_is_an_error() -> None:
    """A stream that ends early is never a shorter archive, wherever it ends."""
    stream = make_tar([File(b"a", b"x" * 2500), File(b"n" * 200, b"y"), File(b"d/")])
    for length in range(len(stream)):
        with pytest.raises(BrokenTar) as caught:
            _read([stream[:length]])
        assert caught.value.offset <= length
    assert len(_read([stream])[0]) == 3


def test_every_damaged_header_byte_is_an_error() -> None:
    """A changed byte of a header is detected, at least by its checksum."""
    stream = make_tar([File(b"a", b"x"), File(b"b", b"y")], commit=None)
    for position in (*range(148), *range(156, 512)):
        damaged = bytearray(stream)
        damaged[1024 + position] ^= 0x15
        with pytest.raises((BrokenTar, UnknownMember)) as caught:
            _read([bytes(damaged)])
        assert isinstance(caught.value, BrokenTar), position


@pytest.mark.parametrize("kind", [b"1", b"3", b"4", b"6", b"S", b"V"])
def test_members_that_no_tree_contains_are_refused(kind: bytes) -> None:
    """Hard links, devices, pipes and sparse files are rejected by name, not skipped."""
    with pytest.raises(UnknownMember, match="odd"):
        _read([make_header(b"odd", kind=kind) + bytes(RECORD_BYTES - 512)])


@pytest.mark.parametrize("field", [b"\x80" + (9 << 30).to_bytes(11, "big"), b"%012o" % (9 << 30)])
def test_sizes_beyond_8_gib_in_the_header(field: bytes) -> None:
    """Base-256 and twelve octal digits are read; the 9 GiB are not in the test."""
    reader = TarReader(whole_bytes=_WHOLE_BYTES, block_bytes=_BLOCK_BYTES)
    (piece,) = reader.feed(make_header(b"huge", size_field=field))
    assert isinstance(piece, LargeMember)
    assert piece.size == 9 << 30


def test_sizes_beyond_8_gib_in_a_pax_record() -> None:
    """Git writes zero into the header then, and the size into an extended header."""
    record = b"20 size=%d\n" % (9 << 30)
    record = b"%d size=%d\n" % (len(record), 9 << 30)
    extended = make_header(b"x", size=len(record), kind=b"x") + record.ljust(512, b"\0")
    reader = TarReader(whole_bytes=_WHOLE_BYTES, block_bytes=_BLOCK_BYTES)
    (piece,) = reader.feed(extended + make_header(b"huge"))
    assert isinstance(piece, LargeMember)
    assert (piece.name, piece.size) == (b"huge", 9 << 30)


@pytest.mark.parametrize(
    "record",
    [b"8 path=a\n", b"11 path=abc", b"x path=a\n", b"5path\n", b"99999999 a=b\n", b"0 a=b\n"],
)
def test_malformed_pax_records_are_errors(record: bytes) -> None:
    """A record whose length is wrong does not become another name."""
    extended = make_header(b"x", size=len(record), kind=b"x") + record.ljust(512, b"\0")
    with pytest.raises(BrokenTar):
        _read([extended + make_header(b"a") + bytes(RECORD_BYTES - 1536)])


@pytest.mark.parametrize(
    ("value", "seconds"), [("12.75", 12), ("-1", -1), ("1700000001", 1700000001)]
)
def test_pax_times(value: str, seconds: int) -> None:
    """A time in an extended header replaces the header's; fractions are dropped."""
    (member,) = _read([make_tar([File(b"a", headers={"mtime": value})])])[0]
    assert seconds == member[2]


def test_joined_tars_are_read() -> None:
    """After the end of one, another may begin, however the stream is cut; nowhere else."""
    first, second = make_tar([File(b"a")]), make_tar([File(b"b"), File(b"c", content=b"x" * 9_999)])
    joined = first + second + bytes(10_240) + first
    for size in (1, 511, 512, 513, 10_240, 10_241, len(joined)):
        chunks = [joined[begin : begin + size] for begin in range(0, len(joined), size)]
        assert [name for name, *_ in _read(chunks)[0]] == [b"a", b"b", b"c", b"a"]
    with pytest.raises(BrokenTar, match="follows its end"):
        _read([first + bytes(512) + second])
    with pytest.raises(BrokenTar, match="too early"):
        _read([first + second[:-10_240]])


def test_data_after_the_end_is_an_error() -> None:
    """Zeros end the archive, and only zeros follow."""
    stream = bytearray(make_tar([File(b"a")]))
    stream[-1] = 1
    with pytest.raises(BrokenTar, match="follows its end"):
        _read([bytes(stream)])


def test_an_extended_header_without_its_member_is_an_error() -> None:
    """The end of the archive does not hide an announced name."""
    record = b"10 path=a\n"
    extended = make_header(b"x", size=len(record), kind=b"x") + record.ljust(512, b"\0")
    with pytest.raises(BrokenTar, match="extended header"):
        _read([extended + bytes(RECORD_BYTES - 1024)])


def _long_tar(name: str, target: str, form: int) -> bytes:
    """Return a tar with a file, and a link or a file with a very long name or target."""
    member = tarfile.TarInfo(name)
    if target:
        member.type, member.linkname = tarfile.SYMTYPE, target
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            archive.addfile(tarfile.TarInfo("before"))
            archive.addfile(member)
            archive.addfile(tarfile.TarInfo("behind"))
        return stream.getvalue()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@pytest.mark.parametrize("cut", [1, 512, 4_097, 100_000, 10**7])
@pytest.mark.parametrize(
    ("name", "target", "told"),
    [
        ("d/data.json", "t" * 300_000, "The link 'd/data.json' has a target of 300000 bytes"),
        ("d/" * 40 + "n", "t" * 300_000, f"The link '{'d/' * 32}'... has a target of 300000"),
        ("p" * 5_000, "t" * 3_000_000, f"The link '{'p' * 64}'... has a target of 3000000 bytes"),
        ("p" * 300_000, "", f"The path '{'p' * 64}'... has 300000 bytes; a zip file holds"),
        ("q" * 300_000, "t", f"The path '{'q' * 64}'... has 300000 bytes; a zip file holds"),
    ],
    ids=["link", "link in folders", "link with a long path", "file", "path of a link"],
)
def test_an_excessive_path_or_target_is_refused_by_name(
    form: int, cut: int, name: str, target: str, told: str
) -> None:
    """Any length, however the stream is cut: the error does not call the stream broken."""
    stream = _long_tar(name, target, form)
    if cut == 1:
        cut = max(1, len(stream) // 5_000)
    with pytest.raises(Reject) as caught:
        _read([stream[begin : begin + cut] for begin in range(0, len(stream), cut)])
    assert told in caught.value.reason
    assert ("as a file" in caught.value.remedy) == ("link" in told)


@pytest.mark.parametrize("end", [600, 1_000, 150_000, 301_000])
def test_a_stream_that_ends_in_a_long_record_is_broken(end: int) -> None:
    """Its end is detected while the record is skipped."""
    stream = _long_tar("link", "t" * 300_000, tarfile.PAX_FORMAT)
    with pytest.raises(BrokenTar):
        _read([stream[:end]])


def test_an_empty_tree_is_an_empty_archive() -> None:
    """Only the global header and the end."""
    assert _read([make_tar([])]) == ([], COMMIT)


@pytest.mark.parametrize("seconds", [8**11, 2**64, 8**11 - 1])
def test_a_time_of_all_members_is_read_from_the_global_header(seconds: int) -> None:
    """`git archive` writes it there; in another place it would have to be in every entry."""
    value = b" mtime=%d\n" % seconds
    record = b"%d%s" % (len(value) + 2, value)
    head = make_header(b"g", size=len(record), kind=b"g") + record.ljust(512, b"\0")
    stream = head + make_tar([File(b"a")])
    stream += bytes(-len(stream) % RECORD_BYTES)
    if seconds >= 8**11:
        assert _read([stream]) == _read([make_tar([File(b"a")])])
    else:
        with pytest.raises(BrokenTar, match="for every member"):
            _read([stream])


def _extended(kind: bytes, content: bytes) -> bytes:
    return make_header(b"x", size=len(content), kind=kind) + _padded(content)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


@pytest.mark.parametrize("cut", [0, 2])
@pytest.mark.parametrize(
    "member",
    [
        make_header(b"", size=3) + _padded(b"abc"),
        make_header(b"", size=3, kind=b"\0") + _padded(b"abc"),
        make_header(b"", size=2_001) + _padded(bytes(2_001)),
        make_header(b"", size=2_001, kind=b"\0") + _padded(bytes(2_001)),
        make_header(b"", kind=b"2"),
        _extended(b"x", b"8 path=\n") + make_header(b"named"),
        _extended(b"L", b"\0") + make_header(b"named"),
        _extended(b"L", b"\0") + make_header(b"named", size=2_001) + _padded(bytes(2_001)),
    ],
)
def test_a_member_without_a_name_is_an_error(member: bytes, cut: int) -> None:
    """The archive is broken, and never a shorter one."""
    with pytest.raises(BrokenTar, match="without a name"):
        _names_of(make_header(b"d/", kind=b"5") + member, cut)


def _names_of(stream: bytes, cut: int) -> list[bytes]:
    reader = TarReader(whole_bytes=_WHOLE_BYTES, block_bytes=_BLOCK_BYTES, cut=cut)
    runs = [piece for piece in reader.feed(stream) if isinstance(piece, Run)]
    return [name for run in runs for name, *_ in iter_members(run)]


def test_directories_are_left_out_only_where_names_are_cut() -> None:
    """Parents of a subtree are left out, other directories never."""
    stream = b"".join(make_header(name, kind=b"5") for name in (b"d/", b"/", b"d/e/"))
    assert _names_of(stream, 2) == [b"e/"]
    with pytest.raises(BrokenTar, match="without a name"):
        _names_of(stream, 0)


@pytest.mark.parametrize("key", ["size", "mtime"])
@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_a_number_of_thousands_of_digits_is_an_error(kind: bytes, key: str) -> None:
    """Python refuses to read one of more than 4,300."""
    value = b" %s=%s\n" % (key.encode(), b"9" * 5_000)
    record = b"%d%s" % (len(value) + 4, value)
    with pytest.raises(BrokenTar):
        _read([_extended(kind, record) + make_header(b"a") + bytes(RECORD_BYTES - 6_656)])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("record", [b"0 path=a\n", b"1 path=a\n", b"00 a=\n", b"0 =\n"])
def test_a_record_of_length_zero_is_an_error(record: bytes) -> None:
    """Zero is an error even while a record too long to be kept is searched for a name."""
    too_long = _extended(b"x", record.ljust(LARGEST_EXTENSION_BYTES + 1, b"\0"))
    with pytest.raises(Reject, match="The path 'a' has 1 bytes"):
        _read([too_long + make_header(b"a")])


_odd_records = st.builds(
    lambda length, key, value: b"%d %s=%s\n" % (length, key, value),
    st.integers(0, 40),
    st.sampled_from([b"path", b"size", b"mtime", b"linkpath", b"comment"]),
    st.sampled_from([b"", b"a", b"/", b"-1", b"1.5", b"2001", b"9" * 30, b"\xff"]),
)
_odd_members = st.builds(
    lambda name, kind, field, content: (
        make_header(name, size=len(content), kind=kind, size_field=field or None) + _padded(content)
    ),
    st.sampled_from([b"", b"/", b"//", b"a", b"a/", b"a\0b", b"\0a"]),
    st.sampled_from([b"0", b"\0", b"2", b"5", b"x", b"g", b"L", b"K", b"1", b"z"]),
    st.sampled_from([b"", b"", b"", b"00000004000 ", b"-0000000001\0", b"0x00000000a\0"])
    | st.builds(lambda value: b"\x80" + value.to_bytes(11, "big"), st.integers(0, 2**70)),
    st.sampled_from([b"", b"abc", b"a\0", b"\0", bytes(2_001)]) | _odd_records,
)


@settings(deadline=None)
@given(st.lists(_odd_members, max_size=5), st.integers(1, 3_000))
def test_odd_headers_with_right_checksums_fail_alike(members: list[bytes], size: int) -> None:
    """Results do not depend on where the stream is cut."""
    stream = b"".join(members) + bytes(2 * RECORD_BYTES)
    stream = stream[: len(stream) // RECORD_BYTES * RECORD_BYTES]

    def outcome(chunks: list[bytes]) -> object:
        try:
            return _read(chunks)[0]
        except (BrokenTar, UnknownMember, Reject) as error:
            return type(error)

    chunks = [stream[begin : begin + size] for begin in range(0, len(stream), size)]
    assert outcome([stream]) == outcome(chunks)


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_random_bytes_fail_in_no_other_way(data: bytes) -> None:
    """Random bytes are a broken tar stream, or a member of an unknown kind."""
    with pytest.raises((BrokenTar, UnknownMember)):
        _read([data])


@settings(deadline=None)
@given(st.data())
def test_damaged_streams_fail_in_no_other_way(data: st.DataObject) -> None:
    """One byte changed anywhere: an error of ours, or members, but no crash and no endless loop."""
    stream = bytearray(make_tar([File(b"n" * 150, b"x" * 2500), File(b"b", b"y")]))
    position = data.draw(st.integers(0, len(stream) - 1))
    stream[position] = data.draw(st.integers(0, 255))
    try:
        _read([bytes(stream)])
    except (BrokenTar, UnknownMember):
        return
