"""Decision about a push whose commit its git server does not show: retry, or stale."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.errors import Busy, Unreachable
from asyncbuild.domain.model import Push
from asyncbuild.domain.replication_lag import is_young, may_appear
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.pushes.work import Work

# Mostly a request beside the order names what has long been there, or never will be; its wait
# holds up the pushes of the repository.
_REQUEST_SECONDS: Final = 15.0


class MissingCommits:
    """Decides about pushes whose commits are missing.

    Args:
        mirrors: The mirrors in which they were looked for.
        ledger: Holds the newest push built of each ref.
        lag_seconds: How long a server may lag behind an event (`git.replication_lag_seconds`).
    """

    def __init__(self, mirrors: MirrorCache, ledger: Ledger, *, lag_seconds: float) -> None:
        self._mirrors = mirrors
        self._ledger = ledger
        self._lag_seconds = lag_seconds

    def behind(self, work: Work, push: Push) -> str:
        """Return the old commit, which a lagging server may still show; empty for an old push."""
        return push.old_commit or "" if self._is_young(work, push) else ""

    async def explain(self, work: Work, push: Push, error: Unreachable) -> str:
        """Return why the push is stale: the reason of the error.

        Args:
            work: The message of the push.
            push: The push.
            error: Raised when its commit was looked for.

        Raises:
            Busy: The server may lag behind the push.
            StageError: The ledger or the mirror could not be read.
        """
        if not self._is_young(work, push) or not await self._may_appear(work, push, error.tip):
            return error.reason
        raise Busy(
            f"{error.reason}; the git server may show it later, so it is asked again until the "
            f"push is {self._seconds(push):g} s old"
        ) from error

    def _is_young(self, work: Work, push: Push) -> bool:
        seconds = self._seconds(push)
        return is_young(push, sent=work.message.sent, now=datetime.now(UTC), seconds=seconds)

    def _seconds(self, push: Push) -> float:
        """Return how long the commit of a push is waited for."""
        return self._lag_seconds if push.joins_order else min(self._lag_seconds, _REQUEST_SECONDS)

    async def _may_appear(self, work: Work, push: Push, tip: str) -> bool:
        if not may_appear(push, tip=tip, later=work.later):
            return False
        head = await self._ledger.head(push)
        if head is not None and head.event_id != push.id and head.time > push.time:
            return False  # a newer push of the ref was built
        return not tip or not await self._has_moved_on(push, tip)

    async def _has_moved_on(self, push: Push, tip: str) -> bool:
        """Return whether the ref has moved on to `tip` from where it was before the push."""
        if not push.old_commit or tip == push.old_commit:
            return False
        with suppress(Unreachable):
            opened = self._mirrors.open(push.repository, ref=push.ref, commit=tip)
            async with opened as snapshot:
                return await snapshot.is_ancestor(push.old_commit, tip) is True
        return False
