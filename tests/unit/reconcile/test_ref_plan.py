"""What a round does about each ref."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from asyncbuild.domain.movements import Movement
from asyncbuild.domain.repository import Repository
from asyncbuild.reconcile.planning.ref_plan import (
    LedgerFacts,
    RefFate,
    RefListing,
    due_refs,
    find_differences,
    found_id,
    next_snapshot,
    plan_refs,
    take_baseline,
)
from asyncbuild.reconcile.planning.ref_snapshot import RefSnapshot, WaitingRef

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR, GRACE = timedelta(hours=1), timedelta(minutes=10)
MAIN, OTHER, TAG = "refs/heads/main", "refs/heads/other", "refs/tags/v1"
A, B, C = "a" * 40, "b" * 40, "c" * 40


def listing(time: datetime, tags: bool = False, **refs: str) -> RefListing:  # noqa: FBT001, FBT002 - a case
    """Return a listing of main, other and tag."""
    named = {"main": MAIN, "other": OTHER, "tag": TAG}
    told = sorted((named[name], id_) for name, id_ in refs.items())
    return RefListing(time, tags, "".join(f"{id_} {name}\n" for name, id_ in told).encode())


BASE = take_baseline(listing(NOON, main=A), group="g")


def fates(
    snapshot: RefSnapshot,
    now: RefListing,
    facts: LedgerFacts | None = None,
    unwanted: str = "",
) -> dict[str, RefFate]:
    """Return what is done about each ref."""
    plans = plan_refs(
        snapshot,
        now,
        wanted=lambda ref, _: ref != unwanted,
        facts=facts or LedgerFacts(movements={}),
        grace=GRACE,
    )
    return {each.difference.ref: each.fate for each in plans}


def after(snapshot: RefSnapshot, now: RefListing, facts: LedgerFacts | None = None) -> RefSnapshot:
    """Return the snapshot that a round leaves."""
    plans = plan_refs(
        snapshot, now, wanted=lambda _ref, _id: True, facts=facts or LedgerFacts(), grace=GRACE
    )
    return next_snapshot(snapshot, now, plans, group=snapshot.group)


def test_first_sight_is_a_baseline() -> None:
    """Nothing of what was there before the service is built."""
    assert (BASE.refs, BASE.baseline, BASE.waiting) == (f"{A} {MAIN}\n".encode(), NOON, ())


def test_unchanged_refs_write_nothing() -> None:
    """A round over repositories at rest costs one read each."""
    assert fates(BASE, listing(NOON + HOUR, main=A)) == {}
    assert after(BASE, listing(NOON + HOUR, main=A)) is BASE
    renewed = after(BASE, listing(NOON + timedelta(days=7), main=A))  # before it expires
    assert (renewed.refs, renewed.baseline) == (BASE.refs, BASE.baseline)
    assert renewed.time == NOON + timedelta(days=7)


def test_a_ref_that_differs_waits_and_is_found_after_the_grace() -> None:
    """An event that is on its way is not told as lost."""
    first = listing(NOON + HOUR, main=B)
    assert fates(BASE, first) == {MAIN: RefFate.WAITING}
    kept = after(BASE, first)
    assert kept.refs == BASE.refs  # the old commit until it is known what became of the new one
    early = listing(NOON + HOUR + GRACE - timedelta(seconds=1), main=B)
    assert fates(kept, early) == {MAIN: RefFate.WAITING}
    late = listing(NOON + HOUR + GRACE, main=B)
    assert fates(kept, late) == {MAIN: RefFate.FOUND}
    assert fates(kept, late, LedgerFacts()) == {MAIN: RefFate.WAITING}  # records were not read
    plans = plan_refs(kept, late, wanted=lambda *_: True, facts=LedgerFacts(), grace=GRACE)
    assert due_refs(plans, late, GRACE) == {MAIN}


def test_a_ref_that_moves_on_while_it_waits_keeps_when_it_was_last_known() -> None:
    """The records since then are the ones that may know it."""
    kept = after(BASE, listing(NOON + HOUR, main=B))
    kept = after(kept, listing(NOON + 2 * HOUR, main=C))
    (difference,) = find_differences(kept, listing(NOON + 3 * HOUR, main=C))
    assert difference.old == A
    assert difference.since == NOON
    assert difference.first_seen == NOON + 2 * HOUR


def test_a_push_is_never_found_before_it_was_made() -> None:
    """Another task's clock was ahead: its message would be refused, and the push lost."""
    ahead = replace(BASE, time=NOON + 2 * HOUR)
    (difference,) = find_differences(ahead, listing(NOON + HOUR, main=B))
    assert difference.since == difference.first_seen == NOON + HOUR
    waiting = (WaitingRef(MAIN, B, NOON + HOUR, NOON + 2 * HOUR),)
    (difference,) = find_differences(replace(BASE, waiting=waiting), listing(NOON + HOUR, main=B))
    assert difference.since == NOON + HOUR


def test_refs_that_wait_are_gone_through_once() -> None:
    """A hundred thousand branches that are new at once are no hour of work."""
    begun = []

    class Counted(tuple[WaitingRef, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[WaitingRef]:
            begun.append(1)
            return super().__iter__()

    names = [f"refs/heads/{number:04}" for number in range(1_000)]
    waiting = Counted(WaitingRef(name, B, NOON, NOON) for name in names)
    now = RefListing(NOON + HOUR, tags=False, refs="".join(f"{B} {n}\n" for n in names).encode())
    assert len(find_differences(replace(BASE, waiting=waiting), now)) == 1_001  # and main is gone
    assert len(begun) == 1


def test_a_new_ref_is_a_push_without_old_commit() -> None:
    """A branch whose creation no event told is built."""
    kept = after(BASE, listing(NOON + HOUR, main=A, other=B))
    later = listing(NOON + 2 * HOUR, main=A, other=B)
    (difference,) = find_differences(kept, later)
    assert (difference.ref, difference.old, difference.commit) == (OTHER, "", B)
    assert fates(kept, later) == {OTHER: RefFate.FOUND}


def test_a_deleted_ref_leaves_the_snapshot() -> None:
    """A branch that is made again later is a new ref."""
    snapshot = take_baseline(listing(NOON, main=A, other=B), group="g")
    now = listing(NOON + HOUR, main=A)
    assert fates(snapshot, now) == {OTHER: RefFate.DELETED}
    assert after(snapshot, now).refs == BASE.refs


def test_a_deleted_ref_that_waited_is_forgotten() -> None:
    """Nothing is built of a branch that lived between two rounds."""
    kept = after(BASE, listing(NOON + HOUR, main=A, other=B))
    assert after(kept, listing(NOON + 2 * HOUR, main=A)).waiting == ()


def test_a_server_that_shows_nothing_is_not_believed() -> None:
    """A fault of a server never makes all branches new ones an hour later."""
    empty = listing(NOON + HOUR)
    assert fates(BASE, empty) == {}
    assert after(BASE, empty).refs == BASE.refs


@pytest.mark.parametrize(
    "verdict",
    ["built", "handed-over", "uploaded", "ignored", "stale", "superseded", "rejected"],
)
def test_any_verdict_counts_as_seen(verdict: str) -> None:
    """What was ignored or dead-lettered is not sent again and again."""
    known = Movement(MAIN, B, NOON + timedelta(minutes=5), "event", verdict=verdict)
    facts = LedgerFacts(movements={MAIN: [known]})
    now = listing(NOON + HOUR, main=B)
    assert fates(BASE, now, facts) == {MAIN: RefFate.SEEN}
    assert after(BASE, now, facts).refs == now.refs


def test_a_head_counts_as_seen_without_records() -> None:
    """A push that was built costs one read."""
    now = listing(NOON + HOUR, main=B)
    seen = LedgerFacts(heads={MAIN: (B, NOON + timedelta(minutes=5))})
    assert fates(BASE, now, seen) == {MAIN: RefFate.SEEN}
    older = LedgerFacts(heads={MAIN: (B, NOON - HOUR)}, movements={})
    assert fates(BASE, now, older) == {MAIN: RefFate.WAITING}
    other = LedgerFacts(heads={MAIN: (C, NOON + HOUR)}, movements={})
    assert fates(BASE, now, other) == {MAIN: RefFate.WAITING}


def test_a_push_back_that_no_event_told_is_found() -> None:
    """The record of an earlier stay at the commit does not stand for the later one."""
    there = Movement(MAIN, B, NOON + timedelta(minutes=1), "1", verdict="built")
    away = Movement(MAIN, C, NOON + timedelta(minutes=2), "2", verdict="built")
    facts = LedgerFacts(movements={MAIN: [there, away]})
    kept = after(BASE, listing(NOON + HOUR, main=B), facts)
    assert fates(kept, listing(NOON + 2 * HOUR, main=B), facts) == {MAIN: RefFate.FOUND}


def test_refs_that_no_rule_wants_move_silently() -> None:
    """A rule that is added later makes no old tip a push."""
    kept = after(BASE, listing(NOON + HOUR, main=A, other=B))
    assert fates(BASE, listing(NOON + HOUR, main=A, other=B), unwanted=OTHER) == {
        OTHER: RefFate.UNWANTED
    }
    now = listing(NOON + HOUR, main=A, other=B)
    plans = plan_refs(
        BASE, now, wanted=lambda ref, _: ref == MAIN, facts=LedgerFacts(), grace=GRACE
    )
    moved = next_snapshot(BASE, now, plans, group="g")
    assert fates(moved, listing(NOON + 2 * HOUR, main=A, other=B)) == {}
    assert kept != moved


def test_a_rule_for_tags_takes_a_baseline_of_the_tags() -> None:
    """A new rule does not build every tag that ever was."""
    now = listing(NOON + HOUR, tags=True, main=A, tag=B)
    assert fates(BASE, now) == {TAG: RefFate.BASELINE}
    kept = after(BASE, now)
    later = listing(NOON + 2 * HOUR, tags=True, main=A, tag=C)
    assert fates(kept, later) == {TAG: RefFate.WAITING}
    without = listing(NOON + 3 * HOUR, main=A)
    assert fates(kept, without) == {}
    assert after(kept, without).refs == BASE.refs


def test_the_id_of_a_found_push_is_the_same_for_each_try() -> None:
    """A process that is killed after the send sends nothing new."""
    repository = Repository.of_codecommit("123456789012", "eu-west-1", "web")
    kept = after(BASE, listing(NOON + HOUR, main=B))

    def id_of(minutes: int, commit: str, *movements: Movement) -> str:
        now = listing(NOON + timedelta(minutes=minutes), main=commit)
        facts = LedgerFacts(movements={MAIN: movements})
        (plan,) = plan_refs(kept, now, wanted=lambda *_: True, facts=facts, grace=GRACE)
        return found_id(repository, plan)

    ids = {id_of(minutes, B) for minutes in (70, 80, 200)}
    assert len(ids) == 1
    assert id_of(120, C) not in ids
    away = Movement(MAIN, C, NOON + timedelta(minutes=75), "away", verdict="built")
    assert id_of(120, B, away) not in ids  # away and back since the last try
