"""Ends of builds that a newer push may have superseded, as the recorder of results sees them."""

from collections.abc import Callable
from dataclasses import replace

from asyncbuild.builds.superseding.running_ledger import RunningLedger
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.results.superseding.canceller import Canceller


class SupersededEnds:
    """Completes the results of superseded builds, and removes the entries of those that have ended.

    Args:
        ledger: Entries of builds that a newer push may stop.
        canceller: Marks the older builds of a group; None if no rule wants them stopped now.
        notice: Called with a group in which a build is marked: it is to be stopped.
    """

    def __init__(
        self,
        ledger: RunningLedger,
        canceller: Canceller | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._canceller = canceller
        self._notice = notice

    async def complete(self, started: StartedBuild, result: BuildResult) -> BuildResult:
        """Return the result; of a build that was stopped for a newer push with that push.

        Args:
            started: The build.
            result: Its state.

        Raises:
            StageError: The ledger could not be read.
        """
        if not started.is_supersedable or result.status is not BuildStatus.STOPPED:
            return result
        known = await self._ledger.find(started)
        by = known.build.superseded_by if known is not None else None
        if known is None or by is None or not known.build.was_superseded(result.ended_at):
            return result
        return replace(result, superseded_by=by.event_id, superseded_by_commit=by.commit)

    async def finish(self, started: StartedBuild) -> None:
        """Remove the entry of a build that has ended.

        It may be the newer build for which others are to be stopped, and have ended before they
        were marked: they are marked first, because nothing tells of it afterwards.

        Args:
            started: The build.

        Raises:
            StageError: The ledger refused.
        """
        if not started.is_supersedable:
            return
        if self._canceller is not None:
            group = self._ledger.group_of(started)
            others = [
                each.build
                for each in await self._canceller.mark(group)
                if each.build.of != started.of
            ]
            if self._notice is not None and any(each.superseded_by for each in others):
                self._notice(group)
        await self._ledger.remove(started)
