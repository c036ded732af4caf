"""Reconciler of one repository: looks at its refs, sends the pushes that no event told."""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol, TypeVar

from anyio import to_thread

from asyncbuild.builds.reconcile_ledger import ReconcileLedger
from asyncbuild.domain.errors import Retry, StageError
from asyncbuild.domain.events.event import PushIdentity
from asyncbuild.domain.events.reconcile_events import PushFound, ReconcileLooked
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.requests.push_request import PushRequest
from asyncbuild.domain.requests.request_terms import FOUND_SOURCE, RequestTerms
from asyncbuild.git.mirrors.listed_refs import Taker
from asyncbuild.reconcile.found_sender import FoundSender
from asyncbuild.reconcile.planning.ref_lines import RefReader, count_refs
from asyncbuild.reconcile.planning.ref_plan import (
    LedgerFacts,
    RefFate,
    RefListing,
    RefPlan,
    due_refs,
    found_id,
    next_snapshot,
    plan_refs,
    take_baseline,
)
from asyncbuild.reconcile.planning.ref_snapshot import (
    RefSnapshot,
    dump_snapshot,
    load_snapshot,
)
from asyncbuild.reconcile.planning.wanted_refs import WantedRefs
from asyncbuild.reconcile.repository_groups import RepositoryGroups
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import about, emit

_T = TypeVar("_T")
_REASON: Final = "no event told this push"
_TOLD: Final = "no event told this push: a round found it, and it is built in its turn"
_LARGE_BYTES: Final = 256 * 1024  # refs that are compared in a thread, so that nothing waits
_HEADS_MOST: Final = 50  # heads that are read one by one; for more refs all records are read
_LATER: Final = "another task looked at {} meanwhile"


class ListsRefs(Protocol):
    """Lists refs of repositories; `git.mirrors.cache.MirrorCache` does."""

    async def stream_refs(
        self, repository: Repository, make: Callable[[], Taker], *, tags: bool
    ) -> Taker:
        """Return what took the list of a repository's branches. Raises StageError."""


@dataclass(frozen=True, slots=True)
class RepositoryLook:
    """Findings of a look at a repository.

    Attributes:
        repository: The repository.
        refs: Number of its refs.
        baseline: Whether it was looked at for the first time.
        plans: Refs that are not as the last round saw them, and what was done about each.
        wait_seconds: Time until a ref that waits is to be looked at again; None if none waits.
        groupless: Whether pushes could not be sent, because their message group is not known.
    """

    repository: Repository
    refs: int
    baseline: bool = False
    plans: tuple[RefPlan, ...] = ()
    wait_seconds: float | None = None
    groupless: bool = False

    def count(self, fate: RefFate) -> int:
        """Return the number of refs with a fate."""
        return sum(each.fate is fate for each in self.plans)


class Reconciler:
    """Looks at repositories, each on its own.

    Args:
        mirrors: Lists refs.
        ledger: Snapshots, heads and records.
        groups: Finds message groups.
        sender: Sends pushes; None if nothing is sent or written: a dry run.
        wanted: What the rules want.
        grace: How long an event may be on its way.
        clock: Clock.
    """

    def __init__(
        self,
        *,
        mirrors: ListsRefs,
        ledger: ReconcileLedger,
        groups: RepositoryGroups,
        sender: FoundSender | None,
        wanted: WantedRefs,
        grace: timedelta,
        clock: Clock = utc_now,
    ) -> None:
        self._mirrors = mirrors
        self._ledger = ledger
        self._groups = groups
        self._sender = sender
        self._wanted = wanted
        self._grace = grace
        self._clock = clock

    async def look(self, repository: Repository) -> RepositoryLook:
        """Compare a repository's refs with its snapshot, and send what no event told.

        Pushes are sent before the snapshot is written: a process that dies in between sends them
        again, under the same ids.

        Args:
            repository: The repository.

        Raises:
            Retry: Another task looked at it meanwhile.
            Reject: Its snapshot cannot be read, or it has too many refs.
            StageError: Ledger, git server or queue refused, or cannot be reached.
        """
        begun = time.monotonic()
        stored = await self._ledger.read_snapshot(repository)
        etag, snapshot = "", None
        if stored is not None:
            etag, key = stored.etag, self._ledger.snapshot_key(repository)
            snapshot = await _computed(len(stored.body), partial(load_snapshot, key, stored.body))
        listing = await self._list(repository)
        if snapshot is None:
            look = RepositoryLook(repository, count_refs(listing.refs), baseline=True)
            group = await self._try_to_find_group(repository)
            await self._write(repository, take_baseline(listing, group=group), etag)
        else:
            look = await self._compare(repository, snapshot, listing, etag)
        _tell(look, time.monotonic() - begun)
        return look

    async def _try_to_find_group(self, repository: Repository) -> str:
        """Return the message group, if it can be found: a baseline does not wait for it."""
        with suppress(StageError):
            return await self._groups.find(repository) if self._sender else ""
        return ""

    async def _list(self, repository: Repository) -> RefListing:
        begun, tags = self._clock(), self._wanted.tags(repository)
        make = partial(RefReader, tags=tags)
        reader = await self._mirrors.stream_refs(repository, make, tags=tags)
        refs = await to_thread.run_sync(reader.end)
        return RefListing(begun, tags, refs, await to_thread.run_sync(reader.end_peeled))

    async def _compare(
        self, repository: Repository, snapshot: RefSnapshot, listing: RefListing, etag: str
    ) -> RepositoryLook:
        plans = await self._plan(repository, snapshot, listing)
        group, groupless = snapshot.group, False
        found = [each for each in plans if each.fate is RefFate.FOUND]
        if found and self._sender is not None:
            group = await self._groups.find(repository, before=group)
            if group:
                await self._send(self._sender, repository, found, listing.time, group)
            else:
                groupless, plans = True, [_waiting(each) for each in plans]
        size = len(listing.refs)
        make = partial(next_snapshot, snapshot, listing, plans, group=group)
        following = await _computed(size, make)
        if following is not snapshot:
            await self._write(repository, following, etag)
        return RepositoryLook(
            repository,
            count_refs(listing.refs),
            plans=tuple(plans),
            wait_seconds=None if groupless else self._wait_seconds(plans, listing.time),
            groupless=groupless,
        )

    async def _plan(
        self, repository: Repository, snapshot: RefSnapshot, listing: RefListing
    ) -> list[RefPlan]:
        """Plan with no facts first, then with heads, then with records: most need no more."""

        async def plan(facts: LedgerFacts) -> list[RefPlan]:
            call = partial(
                plan_refs,
                snapshot,
                listing,
                wanted=partial(self._wanted.asks, repository),
                facts=facts,
                grace=self._grace,
            )
            return await _computed(len(listing.refs), call)

        plans = await plan(LedgerFacts())
        open_refs = _open_refs(plans)
        if not open_refs:
            return plans
        heads = {}
        if len(open_refs) <= _HEADS_MOST:
            heads = await self._ledger.read_heads(repository, open_refs)
            plans = await plan(LedgerFacts(heads))
        # A dry run says at once what is missing; nothing comes of it.
        due = due_refs(plans, listing, self._grace) if self._sender else _open_refs(plans)
        if not due:
            return plans
        since = min(each.difference.since for each in plans if each.difference.ref in due)
        movements = await self._ledger.read_movements(repository, since=since)
        return await plan(LedgerFacts(heads, movements))

    async def _send(
        self,
        sender: FoundSender,
        repository: Repository,
        found: Sequence[RefPlan],
        time: datetime,
        group: str,
    ) -> None:
        requests = [_request(repository, each, time) for each in found]
        await sender.send(requests, group=group)
        for plan, request in zip(found, requests, strict=True):
            each = plan.difference
            identity = PushIdentity.of_parts(request.id, repository, each.ref, each.commit)
            with about(identity):
                emit(
                    PushFound(
                        reason=_TOLD, old_commit=each.old or None, last_elsewhere_at=each.since
                    )
                )

    async def _write(self, repository: Repository, snapshot: RefSnapshot, etag: str) -> None:
        if self._sender is None:
            return
        body = await _computed(len(snapshot.refs), partial(dump_snapshot, snapshot))
        if not await self._ledger.write_snapshot(repository, body, etag=etag):
            raise Retry(_LATER.format(repository.path), after_seconds=1)

    def _wait_seconds(self, plans: Sequence[RefPlan], now: datetime) -> float | None:
        waiting = [each.difference for each in plans if each.fate is RefFate.WAITING]
        if not waiting:
            return None
        due = max(each.first_seen for each in waiting) + self._grace
        return max(1.0, (due - now).total_seconds())


def _open_refs(plans: Sequence[RefPlan]) -> Collection[str]:
    return {each.difference.ref for each in plans if each.fate is RefFate.WAITING}


def _waiting(plan: RefPlan) -> RefPlan:
    return replace(plan, fate=RefFate.WAITING) if plan.fate is RefFate.FOUND else plan


def _request(repository: Repository, plan: RefPlan, time: datetime) -> PushRequest:
    found = plan.difference
    terms = RequestTerms(source=FOUND_SOURCE, reason=_REASON, as_push=True, since=found.since)
    return PushRequest(
        id=found_id(repository, plan),
        repository=repository,
        ref=found.ref,
        commit=found.commit,
        time=time,
        terms=terms,
        old_commit=found.old,
    )


async def _computed(size: int, call: Callable[[], _T]) -> _T:
    """Return the result of a call; of one over many bytes it is made in a thread."""
    return call() if size < _LARGE_BYTES else await to_thread.run_sync(call)


def _tell(look: RepositoryLook, seconds: float) -> None:
    emit(
        ReconcileLooked(
            repository=look.repository.path,
            refs=look.refs,
            differing=len(look.plans),
            seen=look.count(RefFate.SEEN),
            found=look.count(RefFate.FOUND),
            waiting=look.count(RefFate.WAITING),
            baseline=look.baseline,
            seconds=round(seconds, 3),
        )
    )
