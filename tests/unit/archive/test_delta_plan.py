"""Delta planning: whatever two archives contain, the new one is complete and within S3's limits."""

import io
import zipfile
from array import array
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise, product, takewhile
from math import inf
from operator import ge

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.archive.delta.planning.cost_model import Rates, Way, WayChoice, decide
from asyncbuild.archive.delta.planning.entry_table import (
    CentralDirectory,
    Table,
    parse_directory,
    parse_end,
)
from asyncbuild.archive.delta.planning.hopeless import is_hopeless
from asyncbuild.archive.delta.planning.plan import CopyLimits, DeltaPlan, plan_delta
from asyncbuild.zip.format.central_directory import move_headers

_HEADER_BYTES = 126  # of `_large`
_LIMITS = CopyLimits(least_part_bytes=150, most_part_bytes=400, most_copies=4)
_Tree = dict[str, bytes]

_names = st.integers(0, 60).map(lambda number: f"{'d' * (number % 7)}/{number}")
_trees = st.dictionaries(_names, st.binary(max_size=120), min_size=1, max_size=40)
# A tree and its successor: some entries removed, some changed, some added.
_changes = st.builds(
    lambda old, gone, new: (old, {n: old[n] for n in old if n not in gone} | new),
    st.dictionaries(_names, st.binary(max_size=120), min_size=10, max_size=60),
    st.sets(_names, max_size=8),
    st.dictionaries(_names, st.binary(max_size=120), max_size=5),
) | st.tuples(_trees, _trees)


def _zip(tree: Mapping[str, bytes]) -> bytes:
    """A zip made by an independent writer: Python's."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in tree.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()


def _table(archive: bytes) -> Table:
    end = parse_end(archive[-98:])
    return parse_directory(archive[end.offset : end.offset + end.nbytes], end.offset)


def _directory(table: Table) -> CentralDirectory:
    return CentralDirectory(table.directory, table.members_bytes)


def _read(archive: bytes) -> _Tree:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def _plan(old: _Tree, new: _Tree) -> tuple[bytes, _Tree, DeltaPlan]:
    """Return the archive of `old`, the members of `new` that it lacks, and the plan."""
    archive = _zip(old)
    table = _table(archive)
    gone = {name.encode() for name, content in old.items() if new.get(name) != content}
    fresh = {name: content for name, content in new.items() if old.get(name) != content}
    return archive, fresh, plan_delta(table, table.find(gone), limits=_LIMITS, worth_bytes=1)


def _parts(archive: bytes, fresh: _Tree, plan: DeltaPlan) -> list[tuple[str, bytes]]:
    """Return the parts that S3 receives: ranges of the old archive, and bytes that are sent."""
    added = _zip(fresh)
    table = _table(added)
    parts = [("copy", archive[each.begin : each.end]) for each in plan.copied_ranges()]
    sent = b"".join(archive[each.begin : each.end] for each in plan.resent_ranges())
    sent += added[: table.members_bytes]
    headers = b"".join(plan.iter_headers())
    if prefix := plan.prefix_range():
        parts += [("send", sent), ("copy", archive[prefix.begin : prefix.end])]
        sent = b""
    headers += move_headers(table.directory, table.positions, plan.kept_bytes)
    begin = plan.kept_bytes + table.members_bytes
    nbytes = plan.prefix_bytes + len(headers)
    count = plan.entries + len(table)
    end = b"PK\5\6\0\0\0\0" + count.to_bytes(2, "little") * 2
    end += nbytes.to_bytes(4, "little") + begin.to_bytes(4, "little") + b"\0\0"
    return [*parts, ("send", sent + headers + end)]


@given(_changes)
def test_a_plan_makes_exactly_the_new_tree(trees: tuple[_Tree, _Tree]) -> None:
    """An independent reader finds every member of the new tree, whole, and no other."""
    old, new = trees
    archive, fresh, plan = _plan(old, new)
    made = b"".join(content for _, content in _parts(archive, fresh, plan))
    assert new == _read(made)


@given(_changes)
def test_no_byte_is_dead(trees: tuple[_Tree, _Tree]) -> None:
    """The archive is as long as a full one of the same members."""
    old, new = trees
    archive, fresh, plan = _plan(old, new)
    made = sum(len(content) for _, content in _parts(archive, fresh, plan))
    assert len(_zip(new)) == made


@given(_changes)
def test_every_part_keeps_the_limits(trees: tuple[_Tree, _Tree]) -> None:
    """Copies, and the bytes sent between them, are neither too short nor too long nor too many."""
    old, new = trees
    archive, fresh, plan = _plan(old, new)
    parts = _parts(archive, fresh, plan)
    for kind, content in parts[:-1]:
        assert len(content) >= _LIMITS.least_part_bytes
        assert kind == "send" or len(content) <= _LIMITS.most_part_bytes
    assert len(plan.copies) <= _LIMITS.most_copies
    assert all(before.end <= after.begin for before, after in pairwise(plan.copied_ranges()))


@given(_changes)
def test_a_chosen_delta_is_cheaper_by_its_own_model(trees: tuple[_Tree, _Tree]) -> None:
    """A delta is chosen only if it copies something and costs less than a full archive."""
    old, new = trees
    _, _, plan = _plan(old, new)
    rates = Rates(make_byte=1, make_entry=1, send_byte=0.5, fetch_byte=0.1, begin=10, request=5)
    decision = decide(plan, rates)
    assert (decision.kind is Way.DELTA) == (
        bool(plan.copies) and decision.delta_seconds < decision.full_seconds
    )
    sent = plan.resent_bytes + plan.kept_directory_bytes - plan.prefix_bytes
    if decision.kind is Way.DELTA:
        assert sent <= plan.kept_bytes + len(plan.table.directory)


def _large(entries: int, member_bytes: int) -> Table:
    """Return the table of an archive with so many members, without making the archive."""
    directory = b"".join(
        b"PK\x01\x02"
        + bytes(24)
        + b"\x50\0"
        + bytes(12)
        + (number * member_bytes % 2**32).to_bytes(4, "little")
        + b"%080d" % number
        for number in range(entries)
    )
    return Table(
        directory,
        array("Q", range(0, _HEADER_BYTES * (entries + 1), _HEADER_BYTES)),
        array("Q", range(0, member_bytes * (entries + 1), member_bytes)),
    )


@given(st.lists(st.booleans(), min_size=3, max_size=10), st.integers(1, 3))
def test_no_other_plan_sends_less(kept: list[bool], least: int) -> None:
    """All choices of copied members are tried, with and without the start of the directory."""
    table = _large(len(kept), _HEADER_BYTES)
    removed = [number for number, stays in enumerate(kept) if not stays]
    limits = CopyLimits(least_part_bytes=least * _HEADER_BYTES)
    plan = plan_delta(table, removed, limits=limits, worth_bytes=1)
    sent = plan.resent_bytes + plan.kept_directory_bytes - plan.prefix_bytes
    choices = product((True, False), repeat=len(kept))
    assert min(_sent(kept, copied, least) for copied in choices) * _HEADER_BYTES == sent


def _sent(kept: Sequence[bool], copied: Sequence[bool], least: int) -> float:
    """Members and headers that are sent; members are as long as headers, and none is longer."""
    stays = [number for number in range(len(kept)) if kept[number]]
    runs = [
        [number for _, number in run]
        for same, run in groupby(
            zip(kept, range(len(kept)), strict=True), key=lambda pair: pair[0] and copied[pair[1]]
        )
        if same
    ]
    if min(map(len, runs), default=least) < least:
        return inf  # S3 refuses
    front = [number for run in runs for number in run]
    order = front + [number for number in stays if not copied[number]]
    resent = len(order) - len(front)
    prefix = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], enumerate(order)))
    if not front or min(resent, prefix) < least:
        prefix = 0
    return resent + len(order) - prefix


def test_one_change_in_a_large_archive_sends_at_most_the_directory() -> None:
    """A change near the end: the directory's beginning is copied, and 5 MiB of members are sent."""
    plan = plan_delta(_large(100_000, 2_000), [99_000])
    sent = plan.resent_bytes + plan.kept_directory_bytes - plan.prefix_bytes
    assert plan.prefix_bytes == 99_000 * _HEADER_BYTES
    assert 5 * 2**20 <= plan.resent_bytes <= 5 * 2**20 + 4_000
    assert sent < 6_000_000
    assert decide(plan).kind is Way.DELTA


def test_a_copy_at_the_end_is_at_least_one_part_long() -> None:
    """The copy before it gives up what it can spare, so no more is sent than necessary."""
    plan = plan_delta(_large(100_000, 2_000), [96_000])
    first, last = plan.copies
    assert (last.first, last.last) == (96_001, 98_623)  # 5,244,000 bytes of 8 MB
    assert plan.prefix_bytes == first.last * _HEADER_BYTES
    assert 5 * 2**20 <= plan.resent_bytes <= 5 * 2**20 + 4_000


def test_a_change_at_the_front_moves_the_whole_directory() -> None:
    """A change in the first member moves every header: all headers are sent, and no member."""
    plan = plan_delta(_large(100_000, 2_000), [0])
    assert 0 == plan.prefix_bytes == plan.resent_bytes
    assert plan.kept_directory_bytes == 99_999 * _HEADER_BYTES
    assert decide(plan).kind is Way.DELTA


def test_scattered_changes_are_made_in_full() -> None:
    """With a change every few hundred kilobytes there is nothing long enough to copy."""
    plan = plan_delta(_large(100_000, 2_000), range(0, 100_000, 100))
    assert plan.copies == ()
    assert decide(plan).kind is Way.FULL


@given(_trees, st.dictionaries(_names, st.binary(max_size=9)))
def test_the_quick_estimate_never_rejects_a_useful_delta(old: _Tree, new: _Tree) -> None:
    """The quick estimate never says no where full planning would find something to copy."""
    table = _table(_zip(dict(sorted(old.items()))))
    gone = {name.encode() for name, content in old.items() if new.get(name) != content}
    if is_hopeless(_directory(table), gone, limits=_LIMITS):
        assert plan_delta(table, table.find(gone), limits=_LIMITS).copies == ()


def test_the_quick_estimate_sees_scattered_changes() -> None:
    """Every hundredth entry is removed: nothing to copy.

    With 5 MiB untouched in the middle: some.
    """
    table = _large(100_000, 2_000)
    scattered = set(range(0, 100_000, 100))
    assert is_hopeless(_directory(table), {table.name_of(number) for number in scattered})
    scattered -= set(range(50_000, 53_000))
    assert not is_hopeless(_directory(table), {table.name_of(number) for number in scattered})


def test_resends_close_together_are_read_in_one_request() -> None:
    """Members with little between them are read in one request; the cost model counts requests."""
    table = _large(100_000, 2_000)
    gaps = {"near": 1, "far": 1_000}  # entries that are gone before each ten that stay
    near, far = (
        plan_delta(
            table,
            [50_000 + number * (gap + 10) + gone for number in range(4) for gone in range(gap)],
            worth_bytes=2**30,
        )
        for gap in gaps.values()
    )
    assert (len(near.resends), len(far.resends)) == (3, 3)
    assert (len(near.resent_spans()), len(far.resent_spans())) == (1, 3)
    assert decide(near).delta_seconds < decide(far).delta_seconds


def test_a_small_archive_is_made_in_full() -> None:
    """Below 5 MiB nothing can be copied."""
    assert _kind(plan_delta(_large(1_000, 5_000), [3])) is Way.FULL


def test_stretches_beyond_the_largest_part_are_cut() -> None:
    """12 GiB in one stretch are three parts of equal length."""
    plan = plan_delta(_large(3_070, 2**22), [3_069])
    assert [len(each) >> 20 for each in plan.copied_ranges()] == [4_092, 4_092, 4_092]


def _kind(plan: DeltaPlan) -> Way:
    decision: WayChoice = decide(plan)
    return decision.kind


@pytest.mark.parametrize("removed", [[0], [4_096], [9_000], [3, 5_000, 9_999], range(100, 9_000)])
@pytest.mark.parametrize("worth_bytes", [1, 2**40])
def test_headers_of_kept_members_have_their_new_offsets(
    removed: Sequence[int], worth_bytes: int
) -> None:
    """Copies come first, then members that are sent again, each behind the one before.

    None twice.
    """
    table = _large(10_000, 2_000)
    plan = plan_delta(table, removed, worth_bytes=worth_bytes)
    order = [n for each in (*plan.copies, *plan.resends) for n in range(each.first, each.last)]
    assert sorted(order) == sorted(set(range(len(table))) - set(removed))
    prefix = plan.prefix_range()
    begin = table.members_bytes
    copied = range(0) if prefix is None else range(prefix.begin - begin, prefix.end - begin)
    assert len(copied) == plan.prefix_bytes
    directory = table.directory[: len(copied)] + b"".join(plan.iter_headers())
    made = parse_directory(directory, 2_000 * len(order))
    assert [made.name_of(n) for n in range(len(made))] == [b"%080d" % n for n in order]
    assert list(made.offsets) == list(range(0, 2_000 * (len(order) + 1), 2_000))


def test_the_directory_is_copied_if_that_saves_more_than_it_costs() -> None:
    """Members that have to be sent again for the copy count against it."""
    table = _large(100_000, 2_000)
    plain = plan_delta(table, [60_000], worth_bytes=2**40)
    assert plain.prefix_range() is None
    filled = plan_delta(table, [60_000], worth_bytes=1)
    saved = filled.prefix_bytes - filled.resent_bytes + plain.resent_bytes
    assert plan_delta(table, [60_000], worth_bytes=saved) == filled
    assert plan_delta(table, [60_000], worth_bytes=saved + 1) == plain
    gap = range(50_000, 51_000, 2)  # so much of it is sent again in any case
    plain = plan_delta(table, gap, worth_bytes=2**40)
    filled = plan_delta(table, gap, worth_bytes=1)
    assert plain.resent_bytes
    saved = filled.prefix_bytes - filled.resent_bytes + plain.resent_bytes
    assert plan_delta(table, gap, worth_bytes=saved) == filled
    assert plan_delta(table, gap, worth_bytes=saved + 1) == plain


@pytest.mark.parametrize(("near_bytes", "spans"), [(1_999, 3), (2_000, 1)])
def test_resends_at_the_largest_gap_are_still_close_together(near_bytes: int, spans: int) -> None:
    """One entry of 2,000 bytes lies between them."""
    limits = CopyLimits(near_bytes=near_bytes)
    plan = plan_delta(_large(9, 2_000), [2, 5], limits=limits)
    assert len(plan.resends) == 3
    assert len(plan.resent_spans()) == spans
    assert [each for span in plan.resent_spans() for each in span] == plan.resent_ranges()


@pytest.mark.parametrize("least", [1, 2])
def test_no_plan_of_eight_members_sends_less(least: int) -> None:
    """Every subset of eight members is removed once."""
    table = _large(8, _HEADER_BYTES)
    limits = CopyLimits(least_part_bytes=least * _HEADER_BYTES)
    choices = list(product((True, False), repeat=8))
    for kept in choices:
        removed = [number for number, stays in enumerate(kept) if not stays]
        plan = plan_delta(table, removed, limits=limits, worth_bytes=1)
        sent = plan.resent_bytes + plan.kept_directory_bytes - plan.prefix_bytes
        if sent:
            tried = (copied for copied in choices if all(map(ge, kept, copied)))
            assert min(_sent(kept, copied, least) for copied in tried) * _HEADER_BYTES == sent


def test_the_longest_stretches_are_copied_if_there_are_too_many() -> None:
    """Parts have numbers up to 10,000, so the longest stretches are copied first."""
    table = _large(40, 2_000)
    removed = [2, 6, 9, 14, 20]  # stretches of 2, 3, 2, 4, 5 and 19
    for most in range(1, 8):
        limits = CopyLimits(least_part_bytes=2_000, most_copies=most)
        plan = plan_delta(table, removed, limits=limits, worth_bytes=2**40)
        lengths = [each.last - each.first for each in plan.copies]
        assert sorted(lengths) == sorted([2, 3, 2, 4, 5, 19])[-most:]
        assert len(plan.resends) == 6 - len(lengths)
