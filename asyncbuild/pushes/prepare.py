"""Preparation of a message: everything that may run beside other pushes of the repository.

It ends with whole archives in S3. What must happen in order is in `pushes/dispatch.py`.
"""

import time
from collections.abc import Mapping, Sequence
from copy import copy
from functools import partial
from typing import Protocol

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.poison import Tries
from asyncbuild.config.settings import Settings, rules_of
from asyncbuild.domain.errors import Reject, Scope, StageError, Unreachable
from asyncbuild.domain.events.stage_events import PushPrepareFinished, PushPrepareStarted
from asyncbuild.domain.key_template import is_own
from asyncbuild.domain.model import Guard, Nothing, Push, StoredArchive, Target
from asyncbuild.domain.rules import asked_changes, route
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.pushes.ancestry import OpensSnapshots
from asyncbuild.pushes.work import PreparedMessage, PreparedPush, Work
from asyncbuild.runtime.emit import about, stage


class StoresArchives(OpensSnapshots, Protocol):
    """Finds archives in S3 and makes them; `pushes.archives.Archives` does."""

    async def find(self, push: Push, targets: Mapping[str, Target]) -> dict[str, StoredArchive]:
        """Return the archives of `targets`, by key, that are in S3. Raises StageError."""

    async def upload(
        self, push: Push, target: Target, snapshot: Snapshot, guard: Guard
    ) -> StoredArchive:
        """Make the archive of a target, and return it; as `Archives.upload`. Raises StageError."""


class PushPreparer:
    """Finds the targets of a push by the rules, and makes the archives that they need.

    Args:
        archives: Makes and finds archives.
        ledger: Records of what was done.
        settings: All settings.
    """

    def __init__(self, archives: StoresArchives, ledger: Ledger, settings: Settings) -> None:
        self._archives = archives
        self._ledger = ledger
        self._rules = rules_of(settings)
        self._supersedes = settings.lanes.superseded == "skip"

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
        routed = route(push, self._rules, await self._find_unchanged(work, push))
        targets = await self._ledger.find_undone(push, routed)
        wanted = [target for target in targets if target.key]
        own = {target.key: target for target in wanted if is_own(push.commit, target.key)}
        archives = await self._archives.find(push, own)
        if len(archives) == len({target.key for target in wanted}):
            return PreparedPush(push, targets, archives)
        failures: dict[str, StageError] = {}
        timings: dict[str, float] = {}
        begun = time.monotonic()
        try:
            async with self._archives.open_snapshot(work, push) as snapshot:
                timings["fetch"] = time.monotonic() - begun
                for key, target in own.items():
                    if key in archives:
                        continue
                    try:
                        archives[key] = await self._archives.upload(push, target, snapshot, guard)
                    except StageError as error:
                        if error.scope is not Scope.PUSH:
                            raise
                        failures[key] = error
        except Unreachable as error:
            return PreparedPush(push, targets, stale=error.reason)
        timings["archive"] = time.monotonic() - begun - timings["fetch"]
        if all(target.key in failures for target in targets) and len(failures) == 1:
            raise failures.popitem()[1]  # nothing else is in the push: the lane tries it again
        return PreparedPush(push, targets, archives, timings=timings, failures=failures)

    async def _find_unchanged(self, work: Work, push: Push) -> Sequence[tuple[str, ...]]:
        """Return the `changes` of rules in which the push changed nothing.

        git is read only if a rule asks. A push may cover older ones of its ref, so its own changes
        may not be all: then it is compared with what was built last.
        """
        asked = asked_changes(push, self._rules)
        if not asked:
            return ()
        since = push.old_commit
        if self._supersedes:
            since = await self._ledger.find_built_before(push)
        if not since:
            return ()
        try:
            async with self._archives.open_snapshot(work, push) as snapshot:
                return await snapshot.find_unchanged(since, asked)
        except Unreachable:
            return ()


class Preparer:
    """Prepares messages, and tracks which of them may have killed their process."""

    def __init__(self, pushes: PushPreparer, tries: Tries) -> None:
        self._pushes = pushes
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
                if work.more:
                    pushes = [await self._prepare_one(work, push, guard) for push in work.pushes]
                else:
                    pushes = [await self._pushes.prepare(work, work.event, guard)]
            made = [archive for each in pushes for archive in each.archives.values()]
            total = sum(archive.size_bytes for archive in made)
            ending.finished = partial(PushPrepareFinished, bytes=total)
            return PreparedMessage(work, tuple(pushes))

    async def _prepare_one(self, work: Work, push: Push, guard: Guard) -> PreparedPush:
        """Prepare one of several refs of a message; keep its failure until it is dispatched."""
        with about(push):
            try:
                return await self._pushes.prepare(work, push, guard)
            except StageError as error:
                if error.scope is not Scope.PUSH:
                    raise
                return PreparedPush(push, failed=error)
