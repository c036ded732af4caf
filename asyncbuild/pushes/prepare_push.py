"""One push prepared: its targets, and their archives in S3."""

import time
from collections.abc import Sequence

from asyncbuild.builds.ledger import Ledger
from asyncbuild.config.settings import Settings, rules_of
from asyncbuild.domain.errors import Scope, StageError, Unreachable
from asyncbuild.domain.model import Guard, Push, Target
from asyncbuild.domain.rules import asked_changes, route
from asyncbuild.pushes.archives import Archives
from asyncbuild.pushes.work import PreparedPush, Work


class PushPreparer:
    """Finds the targets of a push by the rules, and makes the archives that they need."""

    def __init__(self, archives: Archives, ledger: Ledger, settings: Settings) -> None:
        self._archives = archives
        self._ledger = ledger
        self._rules = rules_of(settings)
        self._supersedes = settings.lanes.superseded == "skip"

    async def prepare(self, work: Work, push: Push, guard: Guard) -> PreparedPush:
        """Fetch, archive and upload what the targets of a push need, unless it is there.

        Args:
            work: The message of the push.
            push: The push.
            guard: Asked before anything is committed (I4).

        Raises:
            StageError: of the stage that failed; with several targets their failures are kept.
        """
        routed = route(push, self._rules, await self._find_unchanged(work, push))
        targets = await find_undone(self._ledger, push, routed)
        wanted = [target for target in targets if target.key]
        own = {target.key: target for target in wanted if is_own(push, target)}
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
        """The `changes` of rules in which the push changed nothing; without any, nothing is read.

        A push may cover older ones of its ref, so that what it changed itself is not all: then
        it is compared with what was built last.
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


def is_own(push: Push, target: Target) -> bool:
    """Return whether a target's object is this commit's alone; then it may be written any time."""
    return push.commit[:12] in target.key


async def find_undone(ledger: Ledger, push: Push, targets: Sequence[Target]) -> tuple[Target, ...]:
    """Return the targets for which the ledger has no record yet (I12)."""
    return tuple([target for target in targets if await ledger.find(push, target) is None])
