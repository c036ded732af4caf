"""Plan of a repository in a round: what its snapshot, its refs now and the ledger ask for. Pure."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from asyncbuild.domain.movements import Movement, find_settled
from asyncbuild.domain.repository import Repository
from asyncbuild.reconcile.planning.ref_lines import (
    differences,
    iter_refs,
    replaced,
    without_tags,
)
from asyncbuild.reconcile.planning.ref_snapshot import RefSnapshot, WaitingRef

_TAGS: Final = "refs/tags/"
# An object that is not written expires with the ledger's, which are kept for 14 days at least.
_RENEWED_AFTER: Final = timedelta(days=7)


class RefFate(StrEnum):
    """Treatment of a ref that differs from the snapshot."""

    DELETED = "deleted"  # it leaves the snapshot
    UNWANTED = "unwanted"  # no rule asks for anything: the snapshot follows
    BASELINE = "baseline"  # refs of its kind are looked at for the first time
    WAITING = "waiting"  # its event may still be on its way
    SEEN = "seen"  # the ledger knows it there
    FOUND = "found"  # nothing knows it there: it becomes a push


@dataclass(frozen=True, slots=True)
class RefListing:
    """Refs of a repository as its server shows them.

    Attributes:
        time: When the listing began.
        tags: Whether tags are among them.
        refs: Lines of `planning/ref_lines.py`.
        peeled: Such lines of annotated tags, with the objects that they point at.
    """

    time: datetime
    tags: bool
    refs: bytes
    peeled: bytes = b""


@dataclass(frozen=True, slots=True)
class RefDifference:
    """Ref that is not as the snapshot has it.

    Attributes:
        ref: Full name.
        old: Commit in the snapshot; empty for a new ref.
        commit: Commit now; empty if it was deleted.
        first_seen: When it was first seen there.
        since: When it was last seen as in the snapshot.
        peeled: Commit that an annotated tag points at: events of some forges name that.
    """

    ref: str
    old: str
    commit: str
    first_seen: datetime
    since: datetime
    peeled: str = ""

    def is_at(self, commit: str) -> bool:
        """Return whether an event of this ref may name this commit."""
        return commit in {self.commit, self.peeled} - {""}


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """Facts of the ledger about refs.

    Attributes:
        heads: Commit and time of the newest push that was built, by ref; those that were read.
        movements: Movements by ref since the snapshot; None if records were not read.
    """

    heads: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)
    movements: Mapping[str, Sequence[Movement]] | None = None

    def knows(self, difference: RefDifference) -> bool:
        """Return whether a record says what became of the ref at this commit."""
        commit, time = self.heads.get(difference.ref, ("", difference.since))
        if difference.is_at(commit) and time >= difference.since:
            return True
        recorded = [
            replace(each, commit=difference.commit) if difference.is_at(each.commit) else each
            for each in (self.movements or {}).get(difference.ref, ())
        ]
        return find_settled(difference.commit, recorded) is not None

    def newest_id(self, ref: str) -> str:
        """Return the event id of the newest movement of a ref on record; empty without one."""
        recorded = (self.movements or {}).get(ref, ())
        newest = max(recorded, key=lambda each: (each.time, each.event_id), default=None)
        return newest.event_id if newest else ""


@dataclass(frozen=True, slots=True)
class RefPlan:
    """One ref that differs, and what is done about it.

    Attributes:
        difference: The ref.
        fate: What is done.
        follows: Id of the newest push of the ref on record, as far as records were read.
    """

    difference: RefDifference
    fate: RefFate
    follows: str = ""


def take_baseline(listing: RefListing, *, group: str) -> RefSnapshot:
    """Return the first snapshot of a repository: all that is there counts as known."""
    return RefSnapshot(listing.time, listing.time, group, listing.tags, listing.refs)


def find_differences(snapshot: RefSnapshot, listing: RefListing) -> list[RefDifference]:
    """Return the refs that are not as the snapshot has them.

    A server that shows no refs at all is not believed: all of them would come back as new ones.
    """
    if not listing.refs:
        return []
    before = snapshot.refs if listing.tags else without_tags(snapshot.refs)
    waiting = {each.ref: each for each in snapshot.waiting}
    found = []
    for ref, old, commit in differences(before, listing.refs):
        known = waiting.get(ref)
        first_seen = known.first_seen if known and known.commit == commit else listing.time
        # A ref that waits at another commit was last seen as in the snapshot before that. Another
        # task's clock may be ahead of this one's: a push is not found before it was made.
        since = min(known.since if known else snapshot.time, first_seen)
        found.append(RefDifference(ref, old, commit, first_seen, since))
    return _with_peeled(found, listing.peeled)


def _with_peeled(found: list[RefDifference], peeled: bytes) -> list[RefDifference]:
    """Return differences with what their annotated tags point at."""
    tags = {each.ref for each in found if each.ref.startswith(_TAGS)}
    if not tags:
        return found
    named = {name: id_ for name, id_ in iter_refs(peeled) if name in tags}
    return [replace(each, peeled=named.get(each.ref, "")) for each in found]


def plan_refs(
    snapshot: RefSnapshot,
    listing: RefListing,
    *,
    wanted: Callable[[str, str], bool],
    facts: LedgerFacts,
    grace: timedelta,
) -> list[RefPlan]:
    """Return what is done about each ref that differs.

    Args:
        snapshot: What the last round saw.
        listing: What the server shows.
        wanted: Whether the rules ask for anything when a ref moves to a commit.
        facts: Facts of the ledger, as far as they were read.
        grace: How long an event may be on its way.
    """
    plans = []
    for each in find_differences(snapshot, listing):
        due = listing.time - each.first_seen >= grace
        if not each.commit:
            fate = RefFate.DELETED
        elif each.ref.startswith(_TAGS) and not snapshot.tags:
            fate = RefFate.BASELINE
        elif not wanted(each.ref, each.commit):
            fate = RefFate.UNWANTED
        elif facts.knows(each):
            fate = RefFate.SEEN
        else:
            fate = RefFate.FOUND if due and facts.movements is not None else RefFate.WAITING
        plans.append(RefPlan(each, fate, facts.newest_id(each.ref)))
    return plans


def next_snapshot(
    snapshot: RefSnapshot, listing: RefListing, plans: Sequence[RefPlan], *, group: str
) -> RefSnapshot:
    """Return the snapshot after a round; the same one if nothing is to be written.

    Args:
        snapshot: What the last round saw.
        listing: What the server shows.
        plans: What was done about the refs that differ.
        group: Message group of the repository; empty if it is not known.
    """
    waiting = [each.difference for each in plans if each.fate is RefFate.WAITING]
    kept = tuple(WaitingRef(each.ref, each.commit, each.first_seen, each.since) for each in waiting)
    if not listing.refs and snapshot.refs:
        return replace(snapshot, group=group)
    refs = replaced(listing.refs, {each.ref: each.old for each in waiting})
    unchanged = (refs, kept, group, listing.tags) == (
        *(snapshot.refs, snapshot.waiting, snapshot.group, snapshot.tags),
    )
    if unchanged and listing.time - snapshot.time < _RENEWED_AFTER:
        return snapshot
    return RefSnapshot(listing.time, snapshot.baseline, group, listing.tags, refs, kept)


def found_id(repository: Repository, plan: RefPlan) -> str:
    """Return the id of the push of a ref that was found: the same for each try to send it.

    A ref that has moved away and back since the last try has a newer push on record.
    """
    each = plan.difference
    facts = (repository.path, each.ref, each.commit, each.since.isoformat(), plan.follows)
    text = "\n".join(facts)
    return f"found-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def due_refs(plans: Sequence[RefPlan], listing: RefListing, grace: timedelta) -> Collection[str]:
    """Return the refs that wait, and whose grace is over: for them the ledger's records are read.

    Args:
        plans: Plans that were made without records.
        listing: What the server shows.
        grace: How long an event may be on its way.
    """
    return {
        each.difference.ref
        for each in plans
        if each.fate is RefFate.WAITING and listing.time - each.difference.first_seen >= grace
    }
