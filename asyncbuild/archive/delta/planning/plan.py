"""Plan of a delta: what S3 copies of the older archive, what is sent again, what is new.

The new archive, in order:

    copies     long stretches of the old archive, copied by S3 (`UploadPartCopy`)
    resends    stretches too short for that, fetched from the old archive and sent again
    fresh      new members, read from git and compressed
    directory  its beginning copied by S3 if that pays, the rest sent

Every member of the old archive that is still wanted is in one copy or one resend, in the old order,
so nothing dead is left and rarely changed entries gather at the front: they keep their offsets, and
the beginning of the directory stays the same.

Limits (S3 user guide, "Amazon S3 multipart upload limits"): parts of 5 MiB to 5 GiB, the last one
may be smaller, at most 10,000.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

from asyncbuild.archive.delta.planning.entry_table import Table
from asyncbuild.domain.model import ByteRange
from asyncbuild.zip.format.central_directory import move_headers

_MIB: Final = 1024 * 1024
_HEADERS: Final = 4096  # moved at once


@dataclass(frozen=True, slots=True)
class CopyLimits:
    """Limits of S3; `most_copies` leaves part numbers for the parts that are sent."""

    least_part_bytes: int = 5 * _MIB
    most_part_bytes: int = 5 * 1024 * _MIB
    most_copies: int = 5_000
    near_bytes: int = 512 * 1024  # reading this much needlessly is cheaper than another request


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive entries of the old archive, from `first` up to, not including, `last`."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class DeltaPlan:
    """Plan for a delta, without its fresh members.

    Attributes:
        table: Table of the old archive.
        copies: Stretches that S3 copies, in order, at the front.
        resends: Stretches that are fetched and sent again, behind the copies.
        prefix_bytes: Length of the directory's beginning that S3 copies, too.
        limits: Limits that every copied range keeps.
    """

    table: Table
    copies: tuple[Stretch, ...]
    resends: tuple[Stretch, ...]
    prefix_bytes: int
    limits: CopyLimits

    @property
    def entries(self) -> int:
        """Number of members that stay."""
        return sum(each.last - each.first for each in chain(self.copies, self.resends))

    @property
    def kept_bytes(self) -> int:
        """Length of the members that stay; fresh members begin there."""
        return self.copied_members_bytes + self.resent_bytes

    @property
    def copied_members_bytes(self) -> int:
        """Length of the members that S3 copies."""
        return sum(map(self.length, self.copies))

    @property
    def resent_bytes(self) -> int:
        """Length of the members that are sent again."""
        return sum(map(self.length, self.resends))

    @property
    def kept_directory_bytes(self) -> int:
        """Approximate length of the directory of kept members; `prefix_bytes` of it are copied."""
        positions = self.table.positions
        return sum(
            positions[each.last] - positions[each.first]
            for each in chain(self.copies, self.resends)
        )

    def length(self, stretch: Stretch) -> int:
        """Return the length of a stretch in bytes."""
        return self.table.offsets[stretch.last] - self.table.offsets[stretch.first]

    def copied_ranges(self) -> list[ByteRange]:
        """Return the ranges of the copies, cut into parts."""
        return [part for each in self.copies for part in self._cut(self._range(each))]

    def resent_ranges(self) -> list[ByteRange]:
        """Return the ranges of the resends."""
        return [self._range(each) for each in self.resends]

    def resent_spans(self) -> list[list[ByteRange]]:
        """Return the resends, grouped by the requests that read them."""
        spans: list[list[ByteRange]] = []
        for each in self.resent_ranges():
            if spans and 0 <= each.begin - spans[-1][-1].end <= self.limits.near_bytes:
                spans[-1].append(each)
            else:
                spans.append([each])
        return spans

    def prefix_range(self) -> ByteRange | None:
        """Return where the old archive has the part of its directory that is copied; None if none.

        That part is always the beginning of the directory.
        """
        begin = self.table.members_bytes
        return ByteRange(begin, begin + self.prefix_bytes) if self.prefix_bytes else None

    def iter_headers(self) -> Iterator[bytes]:
        """Yield the directory of kept members, without its copied beginning, in pieces."""
        table, at = self.table, 0
        for each in chain(self.copies, self.resends):
            by = at - table.offsets[each.first]
            at += self.length(each)
            first = max(each.first, bisect_left(table.positions, self.prefix_bytes))  # not moved
            for number in range(first, each.last, _HEADERS):
                positions = table.positions[number : min(number + _HEADERS, each.last) + 1]
                yield move_headers(table.directory, positions, by)

    def _range(self, stretch: Stretch) -> ByteRange:
        offsets = self.table.offsets
        return ByteRange(offsets[stretch.first], offsets[stretch.last])

    def _cut(self, whole: ByteRange) -> Iterator[ByteRange]:
        """Yield equal pieces, so that none is too short."""
        pieces = -(-len(whole) // self.limits.most_part_bytes)
        for number in range(pieces):
            begin = whole.begin + len(whole) * number // pieces
            yield ByteRange(begin, whole.begin + len(whole) * (number + 1) // pieces)


def plan_delta(
    table: Table,
    removed: Iterable[int],
    *,
    limits: CopyLimits | None = None,
    worth_bytes: int = _MIB,
) -> DeltaPlan:
    """Plan which members of the old archive are copied and which are sent again.

    Args:
        table: Table of the old archive.
        removed: Numbers of the entries that the new tree does not have in the same form.
        limits: Limits; those of S3 by default.
        worth_bytes: The directory's beginning is copied if that saves at least this much.
    """
    limits = limits or CopyLimits()
    copies, resends = _sort_out(table, _kept_stretches(len(table), removed), limits)
    plain = DeltaPlan(table, copies, resends, 0, limits)
    filled = _fill(plain)
    if filled is None:
        return plain
    saved_bytes = filled.prefix_bytes - (filled.resent_bytes - plain.resent_bytes)
    return filled if saved_bytes >= worth_bytes else plain


def _kept_stretches(entries: int, removed: Iterable[int]) -> list[Stretch]:
    stretches = []
    first = 0
    for number in chain(sorted(set(removed)), (entries,)):
        if number > first:
            stretches.append(Stretch(first, number))
        first = number + 1
    return stretches


def _sort_out(
    table: Table, stretches: Sequence[Stretch], limits: CopyLimits
) -> tuple[tuple[Stretch, ...], tuple[Stretch, ...]]:
    """Return copies and resends: by length, and the longest if there are too many."""

    def length(stretch: Stretch) -> int:
        return table.offsets[stretch.last] - table.offsets[stretch.first]

    long = [each for each in stretches if length(each) >= limits.least_part_bytes]
    if len(long) > limits.most_copies:
        long = sorted(long, key=length)[-limits.most_copies :]
    chosen = set(long)
    return (
        tuple(each for each in stretches if each in chosen),
        tuple(each for each in stretches if each not in chosen),
    )


def _fill(plain: DeltaPlan) -> DeltaPlan | None:
    """Return the shortest plan that also copies the directory's beginning; None if there is none.

    The bytes sent between the copied members and the copied headers must fill a part of the least
    length, without removed members in it. So some of the copied members are sent again: what copies
    have beyond the least part, or else a whole one. No other plan sends less, except by the length
    of one member (`tests/unit/archive/test_delta_plan.py` tries them all).
    """
    missing_bytes = plain.limits.least_part_bytes - plain.resent_bytes
    if missing_bytes <= 0:
        lent = [plain]
    else:
        lent = [_lend_ends(plain, missing_bytes), _lend_shortest(plain)]
    filled = [each for each in map(_with_prefix, lent) if each]
    return min(filled, key=lambda plan: plan.resent_bytes - plan.prefix_bytes, default=None)


def _lend_ends(plain: DeltaPlan, missing_bytes: int) -> DeltaPlan:
    """Cut ends off the copies, starting with the one that can spare most; off the first one last.

    The headers of the first one are the directory's beginning.
    """
    offsets, least = plain.table.offsets, plain.limits.least_part_bytes
    spare = {
        each: bisect_left(offsets, offsets[each.first] + least, each.first, each.last)
        for each in plain.copies
    }
    others = sorted(plain.copies[1:], key=lambda each: offsets[spare[each]] - offsets[each.last])
    cut: dict[Stretch, int] = {}
    for each in (*others, *plain.copies[:1]):
        if missing_bytes <= 0:
            break
        end = bisect_right(offsets, offsets[each.last] - missing_bytes, each.first, each.last) - 1
        cut[each] = max(end, spare[each])
        missing_bytes -= offsets[each.last] - offsets[cut[each]]
    copies = [Stretch(each.first, cut.get(each, each.last)) for each in plain.copies]
    ends = [Stretch(end, each.last) for each, end in cut.items() if end < each.last]
    return _resend(plain, copies, ends)


def _lend_shortest(plain: DeltaPlan) -> DeltaPlan:
    """Send the shortest copy again, but never the first."""
    shortest = min(plain.copies[1:], key=plain.length, default=None)
    copies = [each for each in plain.copies if each != shortest]
    return _resend(plain, copies, [shortest] if shortest else [])


def _resend(plain: DeltaPlan, copies: Iterable[Stretch], more: Iterable[Stretch]) -> DeltaPlan:
    """Return the plan with `more` resends."""
    resends = sorted((*plain.resends, *more), key=lambda each: each.first)
    return replace(plain, copies=tuple(copies), resends=tuple(resends))


def _with_prefix(plain: DeltaPlan) -> DeltaPlan | None:
    """Copy as much of the directory's beginning as stays the same, if the rest is long enough."""
    limits, table = plain.limits, plain.table
    same = 0
    for each in chain(plain.copies, plain.resends):
        if each.first != same:
            break
        same = each.last
    most = bisect_right(table.positions, limits.most_part_bytes) - 1
    prefix_bytes = table.positions[min(same, most)]
    if not plain.copies or min(prefix_bytes, plain.resent_bytes) < limits.least_part_bytes:
        return None
    return replace(plain, prefix_bytes=prefix_bytes)
