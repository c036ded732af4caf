"""The planner: whatever two archives hold, the new one is whole and within S3's limits."""

import io
import zipfile
from array import array
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise, product, takewhile
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.archive.delta.planning.cost_model import Rates, Way, WayChoice, decide
from asyncbuild.archive.delta.planning.entry_table import (
    CentralDirectory,
    Table,
    parse_directory,
    parse_end,
)
from asyncbuild.archive.delta.planning.plan import CopyLimits, DeltaPlan, is_hopeless, plan_delta
from asyncbuild.zip.format.central_directory import move_headers

_HEADER_BYTES = 126  # of `_large`
_LIMITS = CopyLimits(least_part_bytes=150, most_part_bytes=400, most_copies=4)
_Tree = dict[str, bytes]

_names = st.integers(0, 60).map(lambda number: f"{'d' * (number % 7)}/{number}")
_trees = st.dictionaries(_names, st.binary(max_size=120), min_size=1, max_size=40)


def _zip(tree: Mapping[str, bytes]) -> bytes:
    """An archive by another hand: Python's."""
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
    """The archive of `old`, what of `new` is not in it, and the plan."""
    archive = _zip(old)
    table = _table(archive)
    gone = {name.encode() for name, content in old.items() if new.get(name) != content}
    fresh = {name: content for name, content in new.items() if old.get(name) != content}
    return archive, fresh, plan_delta(table, table.find(gone), limits=_LIMITS, worth_bytes=1)


def _parts(archive: bytes, fresh: _Tree, plan: DeltaPlan) -> list[tuple[str, bytes]]:
    """What S3 is told: ranges of the old archive, and bytes that are sent."""
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


@given(_trees, _trees)
def test_a_plan_makes_exactly_the_new_tree(old: _Tree, new: _Tree) -> None:
    """An independent reader finds every member of the new tree, whole, and no other."""
    archive, fresh, plan = _plan(old, new)
    made = b"".join(content for _, content in _parts(archive, fresh, plan))
    assert new == _read(made)


@given(_trees, _trees)
def test_no_byte_is_dead(old: _Tree, new: _Tree) -> None:
    """The archive is as long as a full one of the same members."""
    archive, fresh, plan = _plan(old, new)
    made = sum(len(content) for _, content in _parts(archive, fresh, plan))
    assert len(_zip(new)) == made


@given(_trees, _trees)
def test_every_part_keeps_the_limits(old: _Tree, new: _Tree) -> None:
    """Copies and what is sent between them are neither too short nor too long nor too many."""
    archive, fresh, plan = _plan(old, new)
    parts = _parts(archive, fresh, plan)
    for kind, content in parts[:-1]:
        assert len(content) >= _LIMITS.least_part_bytes
        assert kind == "send" or len(content) <= _LIMITS.most_part_bytes
    assert len(plan.copies) <= _LIMITS.most_copies
    assert all(before.end <= after.begin for before, after in pairwise(plan.copied_ranges()))


@given(_trees, _trees)
def test_a_chosen_delta_is_cheaper_by_its_own_model(old: _Tree, new: _Tree) -> None:
    """It is taken only if something is copied and it costs less than a full archive."""
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
    """A table of members that nobody has made."""
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
def test_no_plan_sends_less(kept: list[bool], least: int) -> None:
    """Tried are all choices of what is copied, with and without the directory's beginning."""
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


def test_one_change_in_a_large_archive_sends_the_directory_at_most() -> None:
    """A change near the end: the directory's beginning is copied, and 5 MiB of members are sent."""
    plan = plan_delta(_large(100_000, 2_000), [99_000])
    sent = plan.resent_bytes + plan.kept_directory_bytes - plan.prefix_bytes
    assert plan.prefix_bytes == 99_000 * _HEADER_BYTES
    assert 5 * 2**20 <= plan.resent_bytes <= 5 * 2**20 + 4_000
    assert sent < 6_000_000
    assert decide(plan).kind is Way.DELTA


def test_a_copy_at_the_end_is_no_shorter_than_the_least_part() -> None:
    """It lends what it can spare, the first one the rest: no more is sent than has to be."""
    plan = plan_delta(_large(100_000, 2_000), [96_000])
    first, last = plan.copies
    assert (last.first, last.last) == (96_001, 98_623)  # 5,244,000 bytes of 8 MB
    assert plan.prefix_bytes == first.last * _HEADER_BYTES
    assert 5 * 2**20 <= plan.resent_bytes <= 5 * 2**20 + 4_000


def test_a_change_at_the_front_moves_the_whole_directory() -> None:
    """Nothing of the directory can be copied, so all of it is sent, and no member."""
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
def test_nothing_is_copied_where_there_is_no_hope(old: _Tree, new: _Tree) -> None:
    """A short look never says no where the long one would find something."""
    table = _table(_zip(dict(sorted(old.items()))))
    gone = {name.encode() for name, content in old.items() if new.get(name) != content}
    if is_hopeless(_directory(table), gone, limits=_LIMITS):
        assert plan_delta(table, table.find(gone), limits=_LIMITS).copies == ()


def test_a_short_look_sees_what_is_scattered() -> None:
    """Every hundredth entry is gone: no hope. Those of 5 MiB in the middle stay: some."""
    table = _large(100_000, 2_000)
    scattered = set(range(0, 100_000, 100))
    assert is_hopeless(_directory(table), {table.name_of(number) for number in scattered})
    scattered -= set(range(50_000, 53_000))
    assert not is_hopeless(_directory(table), {table.name_of(number) for number in scattered})


def test_near_resends_are_read_together() -> None:
    """One request for neighbours with little between them; the model counts requests."""
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
