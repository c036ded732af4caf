"""Reader of tar streams: pax as `git archive` writes it (POSIX.1-2017, pax(1)), and GNU names.

Reading is split in two, so that little is done in order and much can be done in parallel:

- `TarReader` walks from header to header and cuts the stream into runs of whole members. It reads
  little but types and sizes: only they tell where the next header is.
- `tar_members.iter_members` parses one run. It depends on nothing else, so any worker can do it.

A member too large to be held in memory is not part of a run: it comes as a `LargeMember`, then its
contents in blocks of a fixed size.

Tars may be concatenated, as with `cat`: where a record ends after an end of archive, another
archive may begin.

A stream that is malformed, or that ends before its last byte, raises `BrokenTar` with the offset of
the fault; it never yields a shorter archive.
"""

from bisect import bisect_left
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from asyncbuild.zip.format.long_header import TooLong
from asyncbuild.zip.format.tar_headers import (
    BELONGS_TO_NEXT,
    BLOCK_BYTES,
    DIRECTORY,
    END_BYTES,
    FILE,
    FILES,
    KIND,
    LARGEST_UNIT_BYTES,
    PAX_GLOBAL,
    RECORD_BYTES,
    BrokenTar,
    LongExtension,
    check,
    measure,
    parse_commit,
    parse_extension,
)
from asyncbuild.zip.format.tar_members import Run, iter_members


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
    """A part of the last `LargeMember`, of the reader's block length; the last may be shorter."""

    data: bytes
    last: bool
    nbytes: int


Piece = Run | LargeMember | Block


class TarReader:
    """Cuts a stream into pieces that can be processed independently.

    Args:
        whole_bytes: Contents up to this length stay in runs; longer ones come in blocks.
        block_bytes: Length of a block.
        cut: Bytes to remove from the beginning of each name (`Run.cut`).

    Members and blocks do not depend on how the stream is cut into chunks; the boundaries between
    runs do.
    """

    def __init__(self, *, whole_bytes: int, block_bytes: int, cut: int = 0) -> None:
        self._whole_bytes = whole_bytes
        self._block_bytes = block_bytes
        self._cut = cut
        self._offset = 0  # position in the stream of the first byte that was not handed out
        self._held: list[bytes] = []  # the beginning of a member or of a block
        self._needed_bytes = BLOCK_BYTES  # length of `_held` at which it is read
        self._large_bytes = 0  # contents of a large member that have not come yet
        self._padding_bytes = 0  # behind them
        self._ending_zeros = 0
        self._too_long: TooLong | None = None  # skips to the name of a member that is rejected
        self.held_bytes = 0  # fed, but not handed out yet
        self.commit: str | None = None  # of the global header: what `git archive` was asked for

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Take the next bytes of the stream and yield the pieces that they complete.

        Raises:
            BrokenTar: They do not continue a tar stream.
            UnknownMember: There is a hard link, a device or a sparse file.
            Reject: A path or a link's target is too long.
        """
        position = 0
        while position < len(data):
            if self._too_long:
                self._too_long.feed(data[position:])
                return
            if self._ending_zeros:
                position = self._read_end(data, position)
            elif self._held or self._large_bytes:
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
        """Check that the stream may end here.

        Raises:
            BrokenTar: A part of the stream is missing.
        """
        if self._ending_zeros < END_BYTES or self._offset % RECORD_BYTES:
            raise BrokenTar("it ends too early", self._offset + self.held_bytes)

    def _read_end(self, data: bytes, begin: int) -> int:
        """Skip zeros up to the end of a record, where another tar may begin; return their end."""
        rest = data[begin:]
        zeros = len(rest) - len(rest.lstrip(b"\0"))
        self._ending_zeros += zeros
        self._offset += zeros
        if zeros < len(rest):
            joined = self._ending_zeros >= END_BYTES and self._offset % RECORD_BYTES == 0
            check(joined, "something follows its end", self._offset)
            self._ending_zeros = 0
        return begin + zeros

    def _read_held(self) -> Iterator[Piece]:
        data = b"".join(self._held)
        self._held.clear()
        self.held_bytes = 0
        if self._large_bytes:
            self._large_bytes -= len(data)
            self._offset += len(data)
            self._needed_bytes = min(self._block_bytes, self._large_bytes) or BLOCK_BYTES
            yield Block(data, last=not self._large_bytes, nbytes=len(data))
        else:  # one member, or one block of zeros, without a rest
            yield from self._walk(data, 0)

    def _walk(self, data: bytes, begin: int) -> Generator[Piece, None, int]:
        """Hand out whole units from `begin` on and hold the rest; return where it stopped."""
        origin = self._offset - begin
        try:
            scan = _scan(data, begin, origin=origin, whole_bytes=self._whole_bytes)
        except LongExtension as long:  # the archive is rejected: earlier members are not needed
            self._too_long = TooLong(long.offset)
            self._too_long.feed(data[long.offset - origin :])
            return len(data)
        self.commit = self.commit or scan.commit
        if scan.whole:
            nbytes = scan.unit - begin
            self._offset += nbytes
            headers, sizes = scan.headers[: scan.whole], scan.sizes[: scan.whole]
            yield Run(data, origin, headers, sizes, nbytes, self._cut)
        if scan.large_bytes:
            yield self._begin_large(data, origin, scan)
            return scan.headers[-1] + BLOCK_BYTES
        if scan.needed_bytes:
            self._needed_bytes = scan.needed_bytes
            self.held_bytes = len(data) - scan.unit
            if self.held_bytes:
                self._held.append(data[scan.unit :])
        else:
            return self._read_end(data, scan.unit)
        return len(data)

    def _begin_large(self, data: bytes, origin: int, scan: "_Scan") -> LargeMember:
        """Return a large member without its contents, which come next."""
        headers, sizes = scan.headers[scan.whole :], scan.sizes[scan.whole :]
        nbytes = headers[-1] + BLOCK_BYTES - scan.unit
        sizes[-1] = 0
        ((name, mode, mtime, _),) = iter_members(
            Run(data, origin, headers, sizes, nbytes, self._cut)
        )
        self._offset += nbytes
        self._large_bytes = scan.large_bytes
        self._padding_bytes = -scan.large_bytes % BLOCK_BYTES
        self._needed_bytes = min(self._block_bytes, scan.large_bytes)
        return LargeMember(name, mode, mtime, scan.large_bytes, nbytes)


@dataclass(slots=True)
class _Scan:
    """Result of walking the headers of a buffer. A *unit* is a member with its extended headers."""

    headers: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    whole: int = 0  # number of headers that belong to whole units
    unit: int = 0  # where the next unit begins
    needed_bytes: int = 0  # length of that unit, as far as it is known; 0 at the archive's end
    large_bytes: int = 0  # contents of that unit, if it is a large file
    commit: str | None = None


def _scan(data: bytes, position: int, *, origin: int, whole_bytes: int) -> _Scan:
    """Walk over the headers of `data`, which lies at `origin` of the stream, from `position` on.

    One loop over every header, in one place for speed.
    """
    scan = _Scan()
    headers, sizes, end, unit = scan.headers, scan.sizes, len(data), position
    extended: dict[bytes, bytes] = {}
    while (content := position + BLOCK_BYTES) <= end:
        kind = data[position + KIND]
        try:
            size = int(data[position + 124 : position + 135], 8)
        except ValueError:
            size = -1
        plain = 0 <= size <= whole_bytes if kind == FILE else kind == DIRECTORY and not size
        if not plain or extended or data[position + 135]:  # 135: a twelfth digit, if any
            size = measure(data, position, origin, extended)
            if size < 0:
                check(unit == position, "an extended header at its end", origin + unit)
                break
            if size > whole_bytes and kind in FILES:
                headers.append(position)
                sizes.append(size)
                scan.large_bytes = size
                break
        after = content + (size + BLOCK_BYTES - 1 & -BLOCK_BYTES)
        if after > end:
            scan.needed_bytes = after - unit
            break
        headers.append(position)
        sizes.append(size)
        position = after
        if kind in BELONGS_TO_NEXT:
            few = after - unit < LARGEST_UNIT_BYTES
            check(few, "too many extended headers for one member", origin + unit)
            extended |= parse_extension(kind, data[content : content + size], origin + content)
            continue
        if kind == PAX_GLOBAL:
            scan.commit = parse_commit(data[content : content + size], origin + content)
        unit, extended = after, {}
    else:
        scan.needed_bytes = content - unit
    scan.unit, scan.whole = unit, bisect_left(headers, unit)
    return scan
