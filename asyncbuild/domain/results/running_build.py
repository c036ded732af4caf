"""Builds of one ref and rule in one project that run side by side: which a newer push stops.

Such builds are a *group*. Another rule may start the project with other files and variables, so its
builds take the place of none of them. Only pushes that became the head of their ref are in it, in
the order of heads: an old push that comes late, is forced or is built by hand is not, so it stops
nothing, and nothing stops it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import StartedId


@dataclass(frozen=True, slots=True)
class Superseder:
    """Newer push, the commit that it has started in the place of an older build, and since when."""

    event_id: str
    commit: str
    since: datetime


@dataclass(frozen=True, slots=True)
class RunningBuild:
    """A build or execution that was not seen to end.

    Attributes:
        of: The build.
        event_id: Id of its push.
        repository: Repository of the push.
        ref: Full name of the ref.
        rule: Name of the rule that asked for it.
        commit: The commit that is built.
        position: Place of its push in the order of heads of the ref.
        is_ordered: Whether the push is known to be newer than those before it: by its time, or
            because the git server has shown the ref at its commit. Otherwise it may have come
            late, and stops nothing.
        superseded_by: The push for which it is to be stopped; None if it is not.
        is_told: Whether its service has accepted the request to stop it.
        is_refused: Whether the service may not stop it, as far as is known: then a person who stops
            it does not do so for the newer push.
    """

    of: StartedId
    event_id: str
    repository: Repository
    ref: str
    rule: str
    commit: str
    position: int
    is_ordered: bool
    superseded_by: Superseder | None = None
    is_told: bool = False
    is_refused: bool = False

    def was_superseded(self, ended_at: datetime | None) -> bool:
        """Return whether the build was stopped for a newer push, given that it was stopped.

        A build that was stopped before that was intended was stopped by a person or a program.

        Args:
            ended_at: When it ended, by the clock of its service; None if that is not known.
        """
        by = self.superseded_by
        if by is None or self.is_told:
            return by is not None
        return not self.is_refused and (ended_at is None or ended_at >= by.since)


def find_superseder(group: Sequence[RunningBuild]) -> RunningBuild | None:
    """Return the newest build of a group whose push is known to be newer than those before it."""
    ordered = (each for each in group if each.is_ordered)
    return max(ordered, key=lambda each: each.position, default=None)


def find_superseded(group: Sequence[RunningBuild], *, head: str) -> list[RunningBuild]:
    """Return the builds of a group that are to be stopped, and are not marked so yet.

    Args:
        group: The builds of one ref and rule in one project.
        head: Id of the newest push of the ref that was built, whose builds are never stopped.
    """
    newer = find_superseder(group)
    if newer is None:
        return []
    kept = {newer.event_id, head}
    return [
        each
        for each in group
        if each.position < newer.position
        and each.event_id not in kept
        and each.superseded_by is None
    ]
