"""Fields of tar headers: ustar, pax (POSIX.1-2017, pax(1)) and GNU (GNU tar, "Tar Internals").

Pure functions of bytes. `offset` is the position of those bytes in the stream, for errors.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Final

from isal.isal_zlib import adler32

from asyncbuild.domain.errors import Reject, Retry

BLOCK_BYTES: Final = 512
# git archive writes whole records, whatever the end needs (archive-tar.c, BLOCKSIZE)
RECORD_BYTES: Final = 20 * BLOCK_BYTES
ZEROS: Final = bytes(BLOCK_BYTES)
END_BYTES: Final = 2 * BLOCK_BYTES  # zeros that end an archive, at least
LARGEST_EXTENSION_BYTES: Final = 256 * 1024  # of an extended header; names are far shorter
LONGEST_EXTENSION_BYTES: Final = 8**11 - 1  # that a header can express; skipped, to learn the name
# all extended headers of one member: GNU long name, GNU long target, pax header
LARGEST_UNIT_BYTES: Final = 3 * (LARGEST_EXTENSION_BYTES + BLOCK_BYTES) + BLOCK_BYTES

FILE: Final = ord("0")
OLD_FILE: Final = 0
SYMLINK: Final = ord("2")
DIRECTORY: Final = ord("5")
PAX: Final = ord("x")
PAX_GLOBAL: Final = ord("g")
GNU_NAME: Final = ord("L")
GNU_LINK: Final = ord("K")

FILES: Final = frozenset((FILE, OLD_FILE))
BELONGS_TO_NEXT: Final = frozenset((PAX, GNU_NAME, GNU_LINK))
WITHOUT_CONTENT: Final = frozenset((SYMLINK, DIRECTORY))
KNOWN: Final = FILES | BELONGS_TO_NEXT | WITHOUT_CONTENT | {PAX_GLOBAL}
OTHER_KINDS: Final = {
    ord("1"): "hard link",
    ord("3"): "character device",
    ord("4"): "block device",
    ord("6"): "named pipe",
    ord("S"): "sparse file",
}


# Where the fields are in a header
NAME: Final = slice(0, 100)
SIZE: Final = slice(124, 136)
SUM: Final = slice(148, 156)
KIND: Final = 156
LINK: Final = slice(157, 257)
MAGIC: Final = slice(257, 263)
# Name, mode, mtime, checksum and kind, unpacked at once
FIELDS: Final = Struct("<100s8s28x12s8sB")
PREFIX_BEGIN: Final = 345
PREFIX: Final = slice(345, 500)
USTAR: Final = b"ustar\0"
TIME_MOST: Final = 0o77777777777  # seconds since 1970 in eleven digits: the year 2242

_MOST_DIGITS: Final = 20  # of 2**64 - 1, the largest size and time that git knows
_MOST_KNOWN: Final = 20_000  # checksums of an archive are a few thousand different ones


class BrokenTar(Retry):
    """The stream is cut or damaged at `offset`, because its writer failed on the way."""

    def __init__(self, fault: str, offset: int) -> None:
        super().__init__(f"The tar stream is broken at byte {offset}: {fault}")
        self.fault = fault
        self.offset = offset


class LongExtension(BrokenTar):
    """An extended header is longer than the limit: an excessive path or link target.

    `offset` is the position of that header.
    """


class UnknownMember(Reject):
    """The stream has a member of a kind that no git tree holds."""


def measure(data: bytes, position: int, origin: int, extended: Mapping[bytes, bytes]) -> int:
    """Return the length of what follows a header after checking it; -1 for the zeros at the end.

    Args:
        data: Buffer that holds the header.
        position: Where the header begins in it.
        origin: Position of `data` in the stream.
        extended: Pax records that apply to the member.

    Raises:
        BrokenTar: The header is damaged.
        LongExtension: It is an extended header that is too long to keep.
        UnknownMember: It is a hard link, a device, a sparse file or the like.
    """
    header = data[position : position + BLOCK_BYTES]
    if header == ZEROS:
        return -1
    offset = origin + position
    check_header(header, offset)
    kind = header[KIND]
    if kind not in KNOWN:
        name = header[NAME].rstrip(b"\0").decode(errors="backslashreplace")
        raise UnknownMember(
            f"{name!r} in the tar stream is a {OTHER_KINDS.get(kind, f'member of type {kind:#x}')}"
            ", which no git tree holds"
        )
    size = _size_of(header, offset)
    if kind in FILES:
        return _decimal(extended[b"size"], offset) if b"size" in extended else size
    fault = f"a member of type {chr(kind)!r} with {size} bytes"
    if kind in BELONGS_TO_NEXT and LARGEST_EXTENSION_BYTES < size <= LONGEST_EXTENSION_BYTES:
        raise LongExtension(fault, offset)
    limit = 0 if kind in WITHOUT_CONTENT else LARGEST_EXTENSION_BYTES
    check(size <= limit, fault, offset)
    return size


def measure_extension(header: bytes, offset: int) -> int:
    """Return the length of what follows an extended header, even one that is too long to keep."""
    size = _size_of(header, offset)
    check(size <= LONGEST_EXTENSION_BYTES, f"an extended header of {size} bytes", offset)
    return size


def _size_of(header: bytes, offset: int) -> int:
    try:
        return parse_number(header[SIZE])
    except ValueError as error:
        raise BrokenTar(str(error), offset) from error


def parse_extension(kind: int, content: bytes, offset: int) -> dict[bytes, bytes]:
    """Return what an extended header says of the next member, as pax records.

    Args:
        kind: Type of the header: `PAX`, `GNU_NAME` or `GNU_LINK`.
        content: What follows the header.
        offset: Position of `content` in the stream.

    Raises:
        BrokenTar: A pax record is malformed.
    """
    if kind == PAX:
        return _parse_pax(content, offset)
    return {b"path" if kind == GNU_NAME else b"linkpath": content.partition(b"\0")[0]}


def _parse_pax(content: bytes, offset: int) -> dict[bytes, bytes]:
    """Parse records of the form `length key=value newline`; the length counts the whole record."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(content):
        digits, space, _ = content[position : position + 20].partition(b" ")
        length = _decimal(digits, offset + position)
        record = content[position : position + length]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        whole = space and equals and len(record) == length and value.endswith(b"\n")
        check(bool(whole), "a malformed pax record", offset + position)
        records[key] = value[:-1]
        position += length
    return records


def parse_commit(content: bytes, offset: int) -> str | None:
    """Return the commit id, which `git archive` writes as the comment of the global header.

    The global header also holds an mtime for all members, but only if no member's header can hold
    it (archive-tar.c, write_global_extended_header()). The members then have the latest time that a
    header can hold; a zip cannot hold a later one either, so ignoring the record loses nothing.
    """
    records = _parse_pax(content, offset)
    stray = records.keys() - {b"comment", b"mtime"}
    late = _decimal(records[b"mtime"], offset) > TIME_MOST if b"mtime" in records else True
    stray |= set() if late else {b"mtime"}
    check(not stray, f"a global header sets {sorted(stray)} for every member", offset)
    return records[b"comment"].decode("ascii", "replace") if b"comment" in records else None


def parse_seconds(value: bytes) -> int:
    """Return a pax time in seconds, without its fraction. Raises ValueError."""
    return int(value.partition(b".")[0])


def _decimal(digits: bytes, offset: int) -> int:
    shown = digits[: _MOST_DIGITS + 1]
    is_number = digits.isdigit() and len(digits) <= _MOST_DIGITS
    check(is_number, f"{shown!r} instead of a decimal number", offset)
    return int(digits)


class _Known(dict[bytes, int]):
    """Cache of parsed fields: most headers repeat the fields of earlier ones."""

    def __missing__(self, field: bytes) -> int:
        """Parse a field that was not met before. Raises ValueError."""
        value = self._parse(field)
        if len(self) >= _MOST_KNOWN:
            self.clear()
        self[field] = value
        return value

    def _parse(self, field: bytes) -> int:
        raise NotImplementedError


class Numbers(_Known):
    """Numeric fields: octal digits, or base-256 if the first bit is set (GNU tar)."""

    def _parse(self, field: bytes) -> int:
        return parse_number(field)


class Sums(_Known):
    """Low halves of the Adler-32 of an intact header, by its checksum field.

    The low half of Adler-32 is one more than the sum of all bytes, modulo 65521 (RFC 1950). A
    header's checksum is the sum of its bytes, too, with spaces for its own eight bytes. Adler-32 is
    the fastest way from Python to that sum.
    """

    def _parse(self, field: bytes) -> int:
        others = parse_number(field) - len(field) * ord(" ")
        return (1 + others + sum(field)) % 65521


# Shared by the whole process.
NUMBERS: Final = Numbers()
SUMS: Final = Sums()


def name_of(header: bytes) -> bytes:
    """Return the name in a header: with the prefix that ustar splits off a long one."""
    name = header[NAME].partition(b"\0")[0]
    if header[MAGIC] == USTAR and (prefix := header[PREFIX].partition(b"\0")[0]):
        return prefix + b"/" + name
    return name


def parse_number(field: bytes) -> int:
    """Return the value of a numeric field. Raises ValueError."""
    if field[0] == 0x80:  # noqa: PLR2004 - base-256 and not negative
        return int.from_bytes(field[1:], "big")
    value = int(field.strip(b"\0 ") or b"0", 8)
    if value < 0:
        raise ValueError(f"{field!r} is a negative number")
    return value


def check_header(header: bytes, offset: int) -> None:
    """Raise `BrokenTar` unless a header agrees with its checksum."""
    try:
        expected = SUMS[header[SUM]]
    except ValueError as error:
        raise BrokenTar(str(error), offset) from error
    check(adler32(header) & 0xFFFF == expected, "the checksum of a header is wrong", offset)


def check(condition: bool, fault: str, offset: int) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise `BrokenTar` unless `condition` is true.

    Args:
        condition: What has to hold.
        fault: What is wrong otherwise, for people.
        offset: Position in the stream.
    """
    if not condition:
        raise BrokenTar(fault, offset)
