"""Starts of pushes that are the newest of their ref: what they supersede is stopped beside them."""

from functools import partial

from asyncbuild.builds.ledger_records import KnownHead
from asyncbuild.domain.model import Push
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.pushes.ancestry import History
from asyncbuild.pushes.work import SupersedesBuilds


class NewerStarts:
    """Hands over the builds of pushes that have become the head of their ref, and no others.

    So a push that is older than the newest one built (late, forced, sent back from the dead
    letters, or built by hand beside the order) stops nothing, and nothing stops its build.

    Args:
        supersedes: Stops the older builds.
        history: Asks the git server, where the time of a push does not tell its order.
    """

    def __init__(self, supersedes: SupersedesBuilds, history: History) -> None:
        self._supersedes = supersedes
        self._history = history

    async def add(self, started: StartedBuild, push: Push, known: KnownHead | None) -> None:
        """Record a build that a newer push may stop, before the record of its push.

        Args:
            started: The build.
            push: Its push.
            known: Head of the ref after the push; None if it is not known.

        Raises:
            StageError: It could not be recorded.
        """
        head = None if known is None else known.newest
        if started.is_supersedable and head is not None and head.event_id == push.id:
            await self._supersedes.add(started, push, head)

    def notice(self, started: StartedBuild, push: Push, known: KnownHead | None) -> None:
        """Stop the older builds beside the lane, after the record of the push.

        Args:
            started: The build.
            push: Its push.
            known: Head of the ref after the push; None if it is not known.
        """
        head = None if known is None else known.newest
        if not started.is_supersedable or head is None or head.event_id != push.id:
            return
        if push.timed and head.follows_by_time:
            self._supersedes.notice(started)
        else:
            self._supersedes.notice(started, partial(self._history.is_at_tip, push))
