"""Canceller of the builds of one ref and rule in one project that a newer push has superseded.

What is to be done follows from the entries of the group alone, so any task can do it, at any time
and more than once: the one that has started the newer build, the one that records an end, or a
round. The intention is written into the entry first, then the build is stopped; so every task knows
of a build that it finds stopped later that it was superseded.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from asyncbuild.builds.superseding.running_ledger import KnownRunning, RunningLedger
from asyncbuild.domain.errors import Denied
from asyncbuild.domain.events.cancel_events import BuildCancelled, CancelOff
from asyncbuild.domain.events.event import PushIdentity
from asyncbuild.domain.results.build_result import StartedId, StartedKind
from asyncbuild.domain.results.running_build import (
    Superseder,
    find_superseded,
    find_superseder,
)
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.results.facts.attempt_facts import AttemptFacts
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import about, emit

OFF_SECONDS: Final = 3_600.0  # for which a project is left alone after a missing right


class StopsBuilds(Protocol):
    """Stops builds and executions; `results.superseding.build_stops.BuildStops` does."""

    async def stop_build(self, attempt: StartedId) -> AttemptFacts | None:
        """Stop a build; return its state after that, None without one. Raises StageError."""

    async def stop_execution(self, of: StartedId, *, reason: str) -> bool:
        """Stop an execution; return whether it will stop. Raises StageError."""


class FindsNewestAttempts(Protocol):
    """Finds the newest attempt of a build; `results.finder.ResultFinder` does."""

    async def find_newest(self, of: StartedId) -> AttemptFacts | None:
        """Return it; None if its service does not know the build. Raises StageError."""


class Canceller:
    """Stops superseded builds.

    Args:
        ledger: Entries of the builds.
        finder: Finds their newest attempts.
        stops: Stops them.
        monotonic: Clock of the pauses after a missing right, in seconds.
        clock: Clock.
    """

    def __init__(
        self,
        ledger: RunningLedger,
        finder: FindsNewestAttempts,
        stops: StopsBuilds,
        *,
        monotonic: Callable[[], float],
        clock: Clock = utc_now,
    ) -> None:
        self._ledger = ledger
        self._finder = finder
        self._stops = stops
        self._monotonic = monotonic
        self._clock = clock
        self._off_until: dict[tuple[StartedKind, str], float] = {}

    async def confirm(self, started: StartedBuild) -> None:
        """Record that the git server has shown the ref at the commit of a build.

        Raises:
            StageError: The ledger refused.
        """
        known = await self._ledger.find(started)
        if known is not None and not known.build.is_ordered:
            await self._ledger.change(known, replace(known.build, is_ordered=True))

    async def settle(self, group: str) -> bool:
        """Stop the builds of a group that are superseded; return whether none is left to stop.

        Args:
            group: Prefix of the group's entries.

        Raises:
            StageError: Ledger, CodeBuild or CodePipeline refused; what was not done can be
                repeated.
        """
        builds = await self.mark(group)
        done = True
        for known in builds:
            if known.build.superseded_by is not None and not self._is_off(known.build.of):
                done = await self._stop(known, known.build.superseded_by) and done
        return done

    async def mark(self, group: str) -> list[KnownRunning]:
        """Write the intention to stop into the entries of superseded builds; return all entries.

        Args:
            group: Prefix of the group's entries.

        Raises:
            StageError: The ledger refused.
        """
        known = await self._ledger.find_group(group)
        builds = [each.build for each in known]
        newer = find_superseder(builds)
        if newer is None or not find_superseded(builds, head=""):
            return known
        head = await self._ledger.find_head(newer)
        if head is None:  # deleted or damaged: then it is not known which push is the newest
            return known
        superseded = find_superseded(builds, head=head.event_id)
        by = Superseder(newer.event_id, newer.commit, self._clock())
        marked = []
        for each in known:
            if each.build in superseded:
                wanted = replace(
                    each.build, superseded_by=by, is_refused=self._is_off(each.build.of)
                )
                changed = await self._ledger.change(each, wanted)
                if changed is None:  # another task has marked it, or it has ended
                    continue
                each = changed  # noqa: PLW2901 - as it is now
            marked.append(each)
        return marked

    async def _stop(self, known: KnownRunning, by: Superseder) -> bool:
        """Stop one build if it still runs; return whether that is done."""
        of = known.build.of
        facts = await self._finder.find_newest(of)
        is_execution = of.kind is StartedKind.EXECUTION
        if facts is None:  # forgotten; or of a build: not shown yet
            return is_execution and await self._ledger.remove_ended(known)
        if facts.result.status.is_end:
            return await self._settle_ended(known, facts)
        try:
            if is_execution:
                return await self._stop_execution(known, by)
            stopped = await self._stops.stop_build(facts.result.of)
        except Denied as error:
            if not known.build.is_told:
                await self._ledger.change(known, replace(known.build, is_refused=True))
            self._turn_off(of, str(error))
            return True
        await self._tell(known, by)
        # It may have failed meanwhile, and be tried again.
        return stopped is None or not self._goes_on(stopped)

    async def _stop_execution(self, known: KnownRunning, by: Superseder) -> bool:
        """Stop an execution once: one that runs after that was started again by a person."""
        if known.build.is_told:
            return True
        reason = f"asyncbuild: superseded by commit {by.commit[:12]}"
        if not await self._stops.stop_execution(known.build.of, reason=reason):
            return False
        await self._tell(known, by)
        return True

    async def _settle_ended(self, known: KnownRunning, facts: AttemptFacts) -> bool:
        if self._goes_on(facts):
            return False
        await self._ledger.remove_ended(known)
        return True

    def _goes_on(self, facts: AttemptFacts) -> bool:
        """Return whether CodeBuild makes another attempt, or may make one."""
        return facts.next is not None or facts.may_be_retried(self._clock())

    async def _tell(self, known: KnownRunning, by: Superseder) -> None:
        """Record that a build was told to stop, and tell it once."""
        build = known.build
        if build.is_told:
            return
        await self._ledger.change(known, replace(build, is_told=True, is_refused=False))
        project, pipeline = _names(build.of)
        identity = PushIdentity.of_parts(build.event_id, build.repository, build.ref, build.commit)
        with about(identity):
            emit(
                BuildCancelled(
                    project=project,
                    pipeline=pipeline,
                    build_id=build.of.id,
                    by=by.event_id,
                    by_commit=by.commit,
                )
            )

    def _is_off(self, of: StartedId) -> bool:
        return self._monotonic() < self._off_until.get((of.kind, of.name), 0.0)

    def _turn_off(self, of: StartedId, reason: str) -> None:
        self._off_until[of.kind, of.name] = self._monotonic() + OFF_SECONDS
        project, pipeline = _names(of)
        emit(CancelOff(project=project, pipeline=pipeline, reason=reason, seconds=OFF_SECONDS))


def _names(of: StartedId) -> tuple[str | None, str | None]:
    """Return the names of project and pipeline, one of which is None."""
    is_execution = of.kind is StartedKind.EXECUTION
    return (None, of.name) if is_execution else (of.name, None)
