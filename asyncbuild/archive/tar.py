"""Tar stream in, members out: pax as `git archive` writes it (POSIX.1-2017, pax(1)), GNU names too.

Reading is split in two, so that little is done in order and much can be done in parallel:

- `TarReader` walks from header to header and cuts the stream into runs of whole members. It looks
  at little but types and sizes, since only they say where the next header is.
- `iter_members` parses one run. It depends on nothing else, so any thread can do it.

A member too large to be held in memory is not part of a run: it comes as a `LargeMember`, then its
contents in blocks of a fixed size.

A stream that is malformed, or that ends anywhere before its last byte, is a `BrokenTar` with the
offset at which it went wrong: never a shorter archive.
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from stat import S_IFDIR, S_IFLNK, S_IFREG
from typing import Final, NamedTuple
from zlib import adler32

from asyncbuild.errors import Reject, Retry

BLOCK_BYTES: Final = 512
# git archive writes whole records, whatever the end needs (archive-tar.c, BLOCKSIZE)
RECORD_BYTES: Final = 20 * BLOCK_BYTES
_ZEROS: Final = bytes(BLOCK_BYTES)
_END_BYTES: Final = 2 * BLOCK_BYTES  # zeros that end an archive, at least
_LARGEST_EXTENSION_BYTES: Final = 256 * 1024  # of an extended header; names end far below

_FILE: Final = ord("0")
_OLD_FILE: Final = 0
_SYMLINK: Final = ord("2")
_DIRECTORY: Final = ord("5")
_PAX: Final = ord("x")
_PAX_GLOBAL: Final = ord("g")
_GNU_NAME: Final = ord("L")
_GNU_LINK: Final = ord("K")

_FILES: Final = frozenset((_FILE, _OLD_FILE))
_BELONGS_TO_NEXT: Final = frozenset((_PAX, _GNU_NAME, _GNU_LINK))
_WITHOUT_CONTENT: Final = frozenset((_SYMLINK, _DIRECTORY))
_KNOWN: Final = _FILES | _BELONGS_TO_NEXT | _WITHOUT_CONTENT | {_PAX_GLOBAL}
_OTHER_KINDS: Final = {
    ord("1"): "hard link",
    ord("3"): "character device",
    ord("4"): "block device",
    ord("6"): "named pipe",
    ord("S"): "sparse file",
}


class BrokenTar(Retry):
    """The stream is cut or damaged at `offset`: whatever wrote it failed on the way."""

    def __init__(self, fault: str, offset: int) -> None:
        super().__init__(f"The tar stream is broken at byte {offset}: {fault}")
        self.offset = offset


class UnknownMember(Reject):
    """A kind of member that no git tree holds."""


class Member(NamedTuple):
    """One entry of the tree.

    `name` is the raw path, a directory's ending in a slash. `mode` is an `st_mode`, the type
    included. `content` is a file's bytes or a link's target; empty for a directory.
    """

    name: bytes
    mode: int
    mtime: int  # seconds since the epoch
    content: memoryview | bytes


@dataclass(frozen=True, slots=True)
class Run:
    """Whole members, `nbytes` of the stream, with the extended headers that belong to them.

    `headers` are the positions in `data` of all header blocks, `sizes` the lengths of what follows
    each. `data` begins at `offset` of the stream and may hold more than this run.
    """

    data: bytes
    offset: int
    headers: list[int]
    sizes: list[int]
    nbytes: int


@dataclass(frozen=True, slots=True)
class LargeMember:
    """A file of `size` bytes, the contents of which follow as blocks."""

    name: bytes
    mode: int
    mtime: int
    size: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the last `LargeMember`: of the reader's block length, except the last."""

    data: bytes
    last: bool
    nbytes: int


Piece = Run | LargeMember | Block


class TarReader:
    """Cuts a stream into pieces that can be worked on apart from each other.

    Args:
        whole_bytes: Contents up to this length stay in runs; longer ones come in blocks.
        block_bytes: Length of a block.

    Members and blocks are the same however the stream is cut into chunks; only where one run ends
    and the next begins differs.
    """

    def __init__(self, *, whole_bytes: int, block_bytes: int) -> None:
        self._whole_bytes = whole_bytes
        self._block_bytes = block_bytes
        self._offset = 0  # in the stream, of the first byte that was not handed out
        self._held: list[bytes] = []  # the beginning of a member or of a block
        self._needed_bytes = BLOCK_BYTES  # that `_held` must have before it is worth a look
        self._large_bytes = 0  # contents of a large member that have not come yet
        self._padding_bytes = 0  # behind them
        self._ending_zeros = 0
        self.held_bytes = 0  # fed, but not handed out yet
        self.commit: str | None = None  # of the global header: what `git archive` was asked for

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Take the next bytes of the stream and give what is whole with them.

        Raises:
            BrokenTar: They are not what a tar stream goes on with.
            UnknownMember: A hard link, a device, a sparse file.
        """
        position = 0
        while position < len(data):
            if self._ending_zeros:
                self._read_end(data[position:])
                return
            if self._held or self._large_bytes:
                wanted = data[position : position + self._needed_bytes - self.held_bytes]
                position += len(wanted)
                self._held.append(wanted)
                self.held_bytes += len(wanted)
                if self.held_bytes == self._needed_bytes:
                    yield from self._read_held()
            elif self._padding_bytes:
                skipped = min(self._padding_bytes, len(data) - position)
                self._padding_bytes -= skipped
                self._offset += skipped
                position += skipped
            else:
                position = yield from self._walk(data, position)

    def finish(self) -> None:
        """The stream has ended.

        Raises:
            BrokenTar: Something of it is missing.
        """
        if self._ending_zeros < _END_BYTES or self._offset % RECORD_BYTES:
            raise BrokenTar("it ends too early", self._offset + self.held_bytes)

    def _read_end(self, data: bytes) -> None:
        if data.count(0) != len(data):
            stray = len(data) - len(data.lstrip(b"\0"))
            raise BrokenTar("something follows its end", self._offset + stray)
        self._ending_zeros += len(data)
        self._offset += len(data)

    def _read_held(self) -> Iterator[Piece]:
        data = b"".join(self._held)
        self._held.clear()
        self.held_bytes = 0
        if self._large_bytes:
            self._large_bytes -= len(data)
            self._offset += len(data)
            self._needed_bytes = min(self._block_bytes, self._large_bytes) or BLOCK_BYTES
            yield Block(data, last=not self._large_bytes, nbytes=len(data))
        else:
            yield from self._walk(data, 0)

    def _walk(self, data: bytes, begin: int) -> Generator[Piece, None, int]:
        """Hand out what is whole from `begin` on and hold what is not; returns where it stopped."""
        origin = self._offset - begin
        scan = _scan(data, begin, origin=origin, whole_bytes=self._whole_bytes)
        self.commit = self.commit or scan.commit
        if scan.whole:
            nbytes = scan.unit - begin
            self._offset += nbytes
            yield Run(data, origin, scan.headers[: scan.whole], scan.sizes[: scan.whole], nbytes)
        if scan.large_bytes:
            yield self._begin_large(data, origin, scan)
            return scan.headers[-1] + BLOCK_BYTES
        if scan.needed_bytes:
            self._needed_bytes = scan.needed_bytes
            self.held_bytes = len(data) - scan.unit
            if self.held_bytes:
                self._held.append(data[scan.unit :])
        else:
            self._read_end(data[scan.unit :])
        return len(data)

    def _begin_large(self, data: bytes, origin: int, scan: "_Scan") -> LargeMember:
        """A member without its contents, which come next."""
        headers, sizes = scan.headers[scan.whole :], scan.sizes[scan.whole :]
        nbytes = headers[-1] + BLOCK_BYTES - scan.unit
        sizes[-1] = 0
        (member,) = iter_members(Run(data, origin, headers, sizes, nbytes))
        self._offset += nbytes
        self._large_bytes = scan.large_bytes
        self._padding_bytes = -scan.large_bytes % BLOCK_BYTES
        self._needed_bytes = min(self._block_bytes, scan.large_bytes)
        return LargeMember(member.name, member.mode, member.mtime, scan.large_bytes, nbytes)


@dataclass(slots=True)
class _Scan:
    """What the headers of a buffer say. A *unit* is a member with its extended headers."""

    headers: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    whole: int = 0  # so many of the headers belong to units that are there whole
    unit: int = 0  # where the next unit begins
    needed_bytes: int = 0  # length of that unit, as far as it is known; 0 at the archive's end
    large_bytes: int = 0  # it is a file with so many bytes of contents
    commit: str | None = None


def _scan(data: bytes, begin: int, *, origin: int, whole_bytes: int) -> _Scan:
    """Walk over the headers of `data`, which lies at `origin` of the stream, from `begin` on."""
    scan = _Scan()
    headers, sizes = scan.headers, scan.sizes
    position = unit = begin
    whole = 0
    extended: dict[bytes, bytes] = {}
    while True:
        content = position + BLOCK_BYTES
        if content > len(data):
            scan.needed_bytes = content - unit
            break
        kind = data[position + 156]
        size = _size(data, position)
        plain = kind == _FILE and 0 <= size <= whole_bytes
        if not plain or extended or data[position + 135]:  # 135: a twelfth digit, if any
            size = _measure(data, position, origin, extended)
            if size < 0:
                _check(unit == position, "an extended header at its end", origin + unit)
                break
            if size > whole_bytes and kind in _FILES:
                headers.append(position)
                sizes.append(size)
                scan.large_bytes = size
                break
        after = content + (size + BLOCK_BYTES - 1 & -BLOCK_BYTES)
        if after > len(data):
            scan.needed_bytes = after - unit
            break
        headers.append(position)
        sizes.append(size)
        position = after
        if kind in _BELONGS_TO_NEXT:
            extended |= _parse_extension(kind, data[content : content + size], origin + content)
            continue
        if kind == _PAX_GLOBAL:
            scan.commit = _parse_commit(data[content : content + size], origin + content)
        unit = after
        whole = len(headers)
        extended = {}
    scan.unit, scan.whole = unit, whole
    return scan


def _size(data: bytes, position: int) -> int:
    """The size field in octal digits, or -1 if it is anything else."""
    try:
        return int(data[position + 124 : position + 135], 8)
    except ValueError:
        return -1


def _measure(data: bytes, position: int, origin: int, extended: Mapping[bytes, bytes]) -> int:
    """Length of what follows a header, looked at closely; -1 for the zeros that end the archive."""
    header = data[position : position + BLOCK_BYTES]
    if header == _ZEROS:
        return -1
    offset = origin + position
    _check_sum(header, offset)
    kind = header[156]
    if kind not in _KNOWN:
        name = header[:100].rstrip(b"\0").decode(errors="backslashreplace")
        raise UnknownMember(
            f"{name!r} in the tar stream is a {_OTHER_KINDS.get(kind, f'member of type {kind:#x}')}"
            ", which no git tree holds"
        )
    size = _number(header[124:136], offset)
    if kind in _FILES:
        return _decimal(extended[b"size"], offset) if b"size" in extended else size
    limit = 0 if kind in _WITHOUT_CONTENT else _LARGEST_EXTENSION_BYTES
    _check(size <= limit, f"a member of type {chr(kind)!r} with {size} bytes", offset)
    return size


def iter_members(run: Run) -> Iterator[Member]:
    """Parse the members of a run, in order.

    Raises:
        BrokenTar: A header is damaged.
    """
    data, view = run.data, memoryview(run.data)
    modes: dict[bytes, int] = {}
    mtimes: dict[bytes, int] = {}
    extended: dict[bytes, bytes] = {}
    for position, size in zip(run.headers, run.sizes, strict=True):
        content = position + BLOCK_BYTES
        header = data[position:content]
        kind = header[156]
        offset = run.offset + position
        _check_sum(header, offset)
        if kind in _BELONGS_TO_NEXT:
            extended |= _parse_extension(kind, data[content : content + size], offset)
            continue
        if kind == _PAX_GLOBAL:
            continue
        mode_field, mtime_field = header[100:108], header[136:148]
        if (mode := modes.get(mode_field, -1)) < 0:
            mode = modes[mode_field] = _number(mode_field, offset) & 0o7777
        if (mtime := mtimes.get(mtime_field, -1)) < 0:
            mtime = mtimes[mtime_field] = _number(mtime_field, offset)
        name = header[:100].partition(b"\0")[0]
        if header[345] and header[257:263] == b"ustar\0":
            name = header[345:500].partition(b"\0")[0] + b"/" + name
        member = Member(name, mode | S_IFREG, mtime, view[content : content + size])
        if kind != _FILE or extended:
            member = _adapt(member, kind, extended, header, offset)
            extended = {}
        yield member


def _adapt(
    member: Member, kind: int, extended: Mapping[bytes, bytes], header: bytes, offset: int
) -> Member:
    """A member that is no plain file, or that has extended headers."""
    name = extended.get(b"path", member.name)
    mode, content, mtime = member.mode, member.content, member.mtime
    if b"mtime" in extended:
        mtime = _seconds(extended[b"mtime"], offset)
    if kind == _SYMLINK:
        mode = mode & 0o7777 | S_IFLNK
        content = extended.get(b"linkpath", header[157:257].partition(b"\0")[0])
    elif kind == _DIRECTORY:
        mode = mode & 0o7777 | S_IFDIR
        name = name.rstrip(b"/") + b"/"
    return Member(name, mode, mtime, content)


def _parse_extension(kind: int, content: bytes, offset: int) -> dict[bytes, bytes]:
    if kind == _PAX:
        return _parse_pax(content, offset)
    return {b"path" if kind == _GNU_NAME else b"linkpath": content.partition(b"\0")[0]}


def _parse_pax(content: bytes, offset: int) -> dict[bytes, bytes]:
    """Records of the form `length key=value newline`; the length counts the whole record."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(content):
        digits, space, _ = content[position : position + 20].partition(b" ")
        length = _decimal(digits, offset + position)
        record = content[position : position + length]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        whole = space and equals and len(record) == length and value.endswith(b"\n")
        _check(bool(whole), "a malformed pax record", offset + position)
        records[key] = value[:-1]
        position += length
    return records


def _parse_commit(content: bytes, offset: int) -> str | None:
    """The commit id, which `git archive` writes as the comment of the global header."""
    records = _parse_pax(content, offset)
    stray = records.keys() - {b"comment"}
    _check(not stray, f"a global header sets {sorted(stray)} for every member", offset)
    return records[b"comment"].decode("ascii", "replace") if records else None


def _seconds(value: bytes, offset: int) -> int:
    """A pax time: decimal seconds, possibly with a sign and a fraction, which is left out."""
    whole = value.partition(b".")[0]
    _check(whole.removeprefix(b"-").isdigit(), f"{value!r} instead of a time", offset)
    return int(whole)


def _decimal(digits: bytes, offset: int) -> int:
    _check(digits.isdigit(), f"{digits!r} instead of a decimal number", offset)
    return int(digits)


def _number(field: bytes, offset: int) -> int:
    """A numeric field: octal digits, or base-256 if its first bit is set (GNU tar)."""
    if field[0] & 0x80:
        value = int.from_bytes(field[1:], "big")
        _check(field[0] == 0x80, "a negative number", offset)  # noqa: PLR2004 - as above
        return value
    try:
        value = int(field.strip(b"\0 ") or b"0", 8)
    except ValueError:
        value = -1
    _check(value >= 0, f"{field!r} instead of an octal number", offset)
    return value


def _check_sum(header: bytes, offset: int) -> None:
    """Compare the sum of a header's bytes, its own field counted as eight spaces.

    The low half of an Adler-32 is that sum plus one, modulo 65521 (RFC 1950): the fastest way
    there is from Python.
    """
    try:
        stated = int(header[148:155], 8)
    except ValueError:
        stated = _number(header[148:156], offset)
    found = adler32(b"        ", adler32(header[156:], adler32(header[:148]))) & 0xFFFF
    if found != (stated + 1) % 65521:
        raise BrokenTar("the checksum of a header is wrong", offset)


def _check(condition: bool, fault: str, offset: int) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise BrokenTar(fault, offset)
