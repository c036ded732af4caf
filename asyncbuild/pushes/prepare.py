"""Preparation of a message: everything that may run beside other pushes of the repository.

It ends with whole archives in S3. What must happen in order is in `pushes/dispatch.py`.
"""

import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import anyio

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.poison import Tries
from asyncbuild.domain.errors import Reject, Scope, StageError, Unreachable
from asyncbuild.domain.events.stage_events import PushPrepareFinished, PushPrepareStarted
from asyncbuild.domain.key_template import is_own
from asyncbuild.domain.made_before import is_new, may_be_stored
from asyncbuild.domain.model import Guard, Nothing, Push, StoredArchive, Target
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.pushes.ancestry import OpensSnapshots
from asyncbuild.pushes.changed_content import ChangeFinder
from asyncbuild.pushes.tips import Tips
from asyncbuild.pushes.work import PreparedMessage, PreparedPush, Work
from asyncbuild.runtime.emit import about, stage
from asyncbuild.runtime.recent import Recent
from asyncbuild.runtime.tasks import both, open_tasks

_FAILED_MOST: Final = 10_000


class StoresArchives(OpensSnapshots, Protocol):
    """Finds archives in S3 and makes them; `pushes.archives.Archives` does."""

    async def find(self, push: Push, targets: Mapping[str, Target]) -> dict[str, StoredArchive]:
        """Return the archives of `targets`, by key, that are in S3. Raises StageError."""

    async def upload(
        self, push: Push, target: Target, snapshot: Snapshot, guard: Guard
    ) -> StoredArchive:
        """Make the archive of a target, and return it; as `Archives.upload`. Raises StageError."""


@dataclass(frozen=True, slots=True)
class _DoneBefore:
    """Targets of a push that ledger and bucket leave to be done, and archives by key."""

    push: Push
    targets: tuple[Target, ...]
    archives: Mapping[str, StoredArchive]

    @property
    def is_done(self) -> bool:
        """Return whether every archive that is needed is there; also if none is needed."""
        return len(self.archives) == len({each.key for each in self.targets if each.key})

    @property
    def prepared(self) -> PreparedPush:
        """The push, with nothing left to be made."""
        return PreparedPush(self.push, self.targets, self.archives)


class _PendingLookup:
    """Result of a lookup, which may still be on its way."""

    def __init__(self, known: _DoneBefore | None = None) -> None:
        self._known = known
        self._given = anyio.Event()

    def give(self, known: _DoneBefore) -> None:
        self._known = known
        self._given.set()

    async def get(self) -> _DoneBefore:
        """Return it, once it is there; a lookup that fails cancels this."""
        if self._known is None:
            await self._given.wait()
        assert self._known is not None  # noqa: S101 - set before the event
        return self._known


def _own(push: Push, targets: Sequence[Target]) -> dict[str, Target]:
    """Return by key the targets whose archives may be written ahead of the push's turn."""
    return {each.key: each for each in targets if each.key and is_own(push.commit, each.key)}


class PushPreparer:
    """Finds the targets of a push by the rules, and makes the archives that they need.

    Args:
        archives: Makes and finds archives.
        ledger: Records of what was done.
        changes: Finds the targets, and what is left out of them.
    """

    def __init__(self, archives: StoresArchives, ledger: Ledger, changes: ChangeFinder) -> None:
        self._archives = archives
        self._ledger = ledger
        self._changes = changes
        # Pushes whose preparation failed here: something of them may be done.
        self._failed: Recent[tuple[str, str], None] = Recent(_FAILED_MOST)

    async def prepare(self, work: Work, push: Push, guard: Guard) -> PreparedPush:
        """Fetch, archive and upload what the targets of a push need, unless it is in S3 already.

        Args:
            work: The message of the push.
            push: The push.
            guard: Asked before anything is committed (I4).

        Raises:
            StageError: The stage that failed raised it; with several targets their failures are
                kept.
        """
        try:
            known = await self._changes.find(work, push)
            wanted = self._changes.route(push, known)
            prepared = await self._prepare(work, push, wanted, guard)
        except StageError:
            self._failed[push.repository.path, push.id] = None
            raise
        return self._changes.fill(prepared, known)

    async def _prepare(
        self, work: Work, push: Push, routed: Sequence[Target], guard: Guard
    ) -> PreparedPush:
        new = is_new(push, work.message) and (push.repository.path, push.id) not in self._failed
        if new and any(target.key for target in routed):
            return await self._prepare_new(work, push, routed, guard)
        known = await self._look_up(push, routed)
        if known.is_done:
            return known.prepared
        return await self._make(work, push, _PendingLookup(known), guard)

    async def _prepare_new(
        self, work: Work, push: Push, routed: Sequence[Target], guard: Guard
    ) -> PreparedPush:
        """Look for what was done while the commit is fetched.

        Hardly anything was done of a new push, so the fetch is hardly ever made for nothing; then
        it is cancelled, and its own failure does not matter.
        """
        answer, fetching = _PendingLookup(), anyio.CancelScope()

        async def look_up() -> None:
            known = await self._look_up_new(push, routed)
            answer.give(known)
            if known.is_done:
                fetching.cancel()

        async with open_tasks() as tasks:
            tasks.start_soon(look_up)
            with fetching:
                return await self._make(work, push, answer, guard)
        return (await answer.get()).prepared

    async def _look_up(self, push: Push, routed: Sequence[Target]) -> "_DoneBefore":
        """Ask the ledger, and then S3 for the archives of what is left to do."""
        targets = await self._ledger.find_undone(push, routed)
        return _DoneBefore(push, targets, await self._archives.find(push, _own(push, targets)))

    async def _look_up_new(self, push: Push, routed: Sequence[Target]) -> "_DoneBefore":
        """Ask the ledger, and beside that S3 for archives that other pushes may have made.

        The ledger is asked of every push: its event may have been delivered before, in another
        message. An archive that was made of that delivery is found when it is written (`reuse`).
        """
        shared = {key: each for key, each in _own(push, routed).items() if may_be_stored(push, key)}
        if not shared:
            return _DoneBefore(push, await self._ledger.find_undone(push, routed), {})
        targets, found = await both(
            lambda: self._ledger.find_undone(push, routed),
            lambda: self._archives.find(push, shared),
        )
        wanted = {target.key for target in targets}
        return _DoneBefore(push, targets, {key: found[key] for key in found if key in wanted})

    async def _make(
        self, work: Work, push: Push, answer: "_PendingLookup", guard: Guard
    ) -> PreparedPush:
        """Fetch the commit, and make the archives that are not in S3 once that is known."""
        timings: dict[str, float] = {}
        begun = time.monotonic()
        try:
            async with self._archives.open_snapshot(work, push) as snapshot:
                timings["fetch"] = time.monotonic() - begun
                known = await answer.get()
                archives, failures = await self._upload(known, snapshot, guard)
        except StageError as error:
            known = await answer.get()
            if known.is_done:
                return known.prepared
            if not isinstance(error, Unreachable):
                raise
            return PreparedPush(push, known.targets, stale=error.reason)
        timings["archive"] = time.monotonic() - begun - timings["fetch"]
        if all(target.key in failures for target in known.targets) and len(failures) == 1:
            raise failures.popitem()[1]  # nothing else is in the push: the lane tries it again
        return PreparedPush(push, known.targets, archives, timings=timings, failures=failures)

    async def _upload(
        self, known: "_DoneBefore", snapshot: Snapshot, guard: Guard
    ) -> tuple[dict[str, StoredArchive], dict[str, StageError]]:
        """Return the archives by key, those made now too, and the failures of those that failed."""
        archives, failures = dict(known.archives), dict[str, StageError]()
        for key, target in _own(known.push, known.targets).items():
            if key in archives:
                continue
            try:
                archives[key] = await self._archives.upload(known.push, target, snapshot, guard)
            except StageError as error:
                if error.scope is not Scope.PUSH:
                    raise
                failures[key] = error
        return archives, failures


class Preparer:
    """Prepares messages, and tracks which of them may have killed their process."""

    def __init__(self, pushes: PushPreparer, tips: Tips, tries: Tries) -> None:
        self._pushes = pushes
        self._tips = tips
        self._tries = tries

    async def prepare(self, work: Work, *, guard: Guard, suspect: bool = False) -> PreparedMessage:
        """Fetch, archive and upload, unless that was done before.

        Args:
            work: What to prepare.
            guard: Asked before anything is committed (I4).
            suspect: Its process may have died of it: mark the try, and reject it at `max_attempts`.

        Raises:
            StageError: The stage that failed raised it.
        """
        if isinstance(work.event, Reject):
            raise copy(work.event)
        if isinstance(work.event, Nothing):
            return PreparedMessage(work)
        with about(work.event), stage(PushPrepareStarted()) as ending:
            async with self._tries.open_try(work.message, suspect=suspect):
                work = await self._tips.resolve(work, guard)
                pushes = await self._prepare_all(work, guard)
            made = [archive for each in pushes for archive in each.archives.values()]
            total = sum(archive.size_bytes for archive in made)
            ending.finished = partial(PushPrepareFinished, bytes=total)
            return PreparedMessage(work, tuple(pushes))

    async def _prepare_all(self, work: Work, guard: Guard) -> list[PreparedPush]:
        if work.more:
            return [await self._prepare_one(work, push, guard) for push in work.pushes]
        return [await self._pushes.prepare(work, push, guard) for push in work.pushes]

    async def _prepare_one(self, work: Work, push: Push, guard: Guard) -> PreparedPush:
        """Prepare one of several refs of a message; keep its failure until it is dispatched."""
        with about(push):
            try:
                return await self._pushes.prepare(work, push, guard)
            except StageError as error:
                if error.scope is not Scope.PUSH:
                    raise
                return PreparedPush(push, failed=error)
