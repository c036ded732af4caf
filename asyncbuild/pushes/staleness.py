"""Staleness of a push: whether a newer push or the same delivery was built before."""

from dataclasses import replace
from typing import Final

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_records import Head, KnownHead
from asyncbuild.domain.errors import Unreachable
from asyncbuild.domain.model import Push, Target, Verdict
from asyncbuild.pushes.ancestry import History
from asyncbuild.pushes.found_before import FoundBefore
from asyncbuild.pushes.work import Work
from asyncbuild.runtime.tasks import both

_DONE: Final = frozenset({Verdict.BUILT, Verdict.HANDED_OVER, Verdict.UPLOADED})


class Staleness:
    """Decides whether a push is stale.

    Args:
        ledger: Records of what was built.
        history: History of the repository.
        skip_stale: Whether a push is left out when a newer one of its ref was built
            (`lanes.stale`).
    """

    def __init__(self, ledger: Ledger, history: History, *, skip_stale: bool) -> None:
        self._ledger = ledger
        self._history = history
        self._skip_stale = skip_stale
        self._found = FoundBefore(ledger, history)

    async def look_back(self, work: Work, push: Push) -> tuple[KnownHead | None, str]:
        """Return the head of the ref, if it was read, and why this push is not built.

        The reason is empty if it is to be built. Both records are read in the push's own turn, not
        while it is prepared: pushes ahead of it write them in theirs.

        Raises:
            StageError: Ledger or repository could not be read.
        """
        if push.terms is not None:
            return await self._look_back_request(work, push)
        before, known = await self._read(push)
        why = await self._why_repeated(push, known.newest, before) if before else ""
        if not why and known.newest is not None and known.newest.found:
            why = await self._why_told(work, push, known.newest)
        if not why and self._skip_stale:
            why = await self._why_stale(work, push, known.newest)
        return known, why

    async def _why_told(self, work: Work, push: Push, head: Head) -> str:
        """Return why an event tells nothing new, whatever `lanes.stale` says."""
        why = await self._found.why_told(work, push, head)
        return "" if why and await self._ledger.is_forced(push) else why

    async def _look_back_request(self, work: Work, push: Push) -> tuple[KnownHead | None, str]:
        """Return the same for a request, which is built whatever was built before it, or a push.

        A request in place of a push asks for nothing if the newest build of the ref is of its
        commit: the push's own event came first.
        """
        if not push.joins_order:
            return None, ""
        known = await self._ledger.read_head(push)
        head = known.newest
        if push.terms is not None and push.terms.since is not None:
            return known, await self._look_back_found(work, push, head)
        if head is not None and head.commit == push.commit and head.event_id != push.id:
            forced = await self._ledger.is_forced(push)
            return known, "" if forced else f"its commit was built before, as push {head.event_id}"
        return known, await self._why_stale(work, push, head) if self._skip_stale else ""

    async def _look_back_found(self, work: Work, push: Push, head: Head | None) -> str:
        """Return the reason for a push that was found by comparing refs."""
        if head is not None and head.event_id == push.id:
            return ""  # an earlier try set the head
        if why := await self._found.why_settled(push):
            return "" if await self._ledger.is_forced(push) else why
        return await self._why_stale(work, push, head) if self._skip_stale else ""

    async def why_done(self, push: Push, target: Target) -> str:
        """Return why a target of a request beside the order is not started; empty if it is.

        The newest push of the ref has done it for the same commit. With variables of its own it is
        another build.

        Args:
            push: The push.
            target: The target.

        Raises:
            StageError: The ledger could not be read.
        """
        terms = push.terms
        if terms is None or terms.as_push or terms.again or terms.variables:
            return ""
        head = await self._ledger.head(push)
        if head is None or head.commit != push.commit or head.event_id == push.id:
            return ""
        before = replace(push, id=head.event_id, time=head.time)
        record = await self._ledger.find(before, target)
        if record is None or record.get("verdict") not in _DONE:
            return ""
        return f"that was done before, as push {head.event_id}"

    async def _read(self, push: Push) -> tuple[str, KnownHead]:
        """Return the event that settled an equal body, if any, and the head."""
        ledger = self._ledger
        if not push.body_id:
            return "", await ledger.read_head(push)
        return await both(lambda: ledger.find_repeated(push), lambda: ledger.read_head(push))

    async def _why_repeated(self, push: Push, head: Head | None, before: str) -> str:
        """Return why a signed body that was settled as event `before` asks for nothing now.

        A ref that is pushed back and forth gives equal bodies, and each is a push: then the ref is
        at the commit, and another commit was built last.
        """
        if head and head.event_id == push.id:
            return ""  # an earlier try set the head
        why = f"the same delivery was settled before, as event {before}"
        # Only a push that is about to be left out is asked for in two places whether it is forced.
        if await self._ledger.is_forced(push):
            return ""
        if head and head.commit == push.commit:
            return why
        return "" if await self._history.is_at_tip(push) else f"{why}; the ref has moved on"

    async def _why_stale(self, work: Work, push: Push, head: Head | None) -> str:
        """Return why the push is overtaken, or an empty text: ancestry decides, not arrival.

        Only a push that is older than the newest one built of its ref can be. A force push back, or
        a branch that was deleted and made again, is newer by its own time, or names the built
        commit as its old one. If the event has no time, the repository is asked.
        """
        if head is None or head.event_id == push.id:
            return ""
        if push.old_commit == head.commit or (push.timed and push.time >= head.time):
            return ""
        try:
            older = await self._history.is_contained(work, push, head.commit)
            if older and not push.timed:
                older = not await self._history.goes_back(work, push, head.commit)
        except Unreachable as error:
            return error.reason
        if not older or await self._ledger.is_forced(push):
            return ""
        return f"commit {head.commit}, which contains it, was built before"
