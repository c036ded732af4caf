"""One build for one movement of a ref: a push that was found, and the event that comes late."""

from collections.abc import Sequence
from datetime import datetime

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_records import Head
from asyncbuild.builds.recorded_movements import read_movements
from asyncbuild.domain.errors import Unreachable
from asyncbuild.domain.model import Push, Verdict
from asyncbuild.domain.movements import FoundMark, Movement, find_later, find_settled
from asyncbuild.pushes.ancestry import History
from asyncbuild.pushes.work import Work


class FoundBefore:
    """Decides whether a push tells of a movement that was settled as another push.

    The records of pushes are read for a push that was found, and for an event without a time of its
    own whose ref has such a push in its head: not for the others.

    Args:
        ledger: Records of what was decided.
        history: History of the repository.
    """

    def __init__(self, ledger: Ledger, history: History) -> None:
        self._ledger = ledger
        self._history = history

    async def why_settled(self, push: Push) -> str:
        """Return why a push that was found asks for nothing; empty if it is to be built.

        Args:
            push: The push, whose terms say when its ref was last seen elsewhere.

        Raises:
            StageError: Ledger or git server could not be asked.
        """
        since = push.terms.since if push.terms else None
        movements = await self._read(push, since or push.time)
        if settled := find_settled(push.commit, movements):
            return f"its event was settled before, as push {settled.event_id}"
        later = find_later(push.commit, push.time, movements)
        if later is None:
            return ""
        # An event without a time has that of its arrival: the ref may not have moved since.
        if push.repository.is_foreign and await self._history.is_at_tip(push):
            return ""
        return f"the ref has moved on since it was found, as push {later.event_id} tells"

    async def why_told(self, work: Work, push: Push, head: Head) -> str:
        """Return why an event tells nothing new: its push was found before it came.

        Args:
            work: The message of the push.
            push: The push.
            head: Head of its ref, with the pushes that were found.

        Raises:
            StageError: Ledger or git server could not be asked.
        """
        for mark in reversed(head.found):
            if mark.commit != push.commit or mark.event_id == push.id:
                continue
            if push.timed:
                # Events of moves before it may have come late, too: this one follows them.
                goes_on = head.commit != push.commit and push.time >= head.time
                told = mark.is_told_by(push.commit, push.time) and not goes_on
            else:
                told = await self._is_late(work, push, head, mark)
            if told:
                return f"it was found before its event came, and settled as push {mark.event_id}"
        return ""

    async def _is_late(self, work: Work, push: Push, head: Head, mark: FoundMark) -> bool:
        """Return whether an event without a time tells of a found push, and not of a push back."""
        if head.commit != push.commit:
            is_back = push.old_commit == head.commit or await self._history.is_at_tip(push)
            return not is_back
        movements = await self._read(push, mark.time)
        if later := find_later(push.commit, mark.time, movements):
            is_back = push.old_commit == later.commit or await self._history.is_at_tip(push)
            return not is_back
        return await self._comes_from_behind(work, push, mark)

    async def _comes_from_behind(self, work: Work, push: Push, mark: FoundMark) -> bool:
        """Return whether the old commit of an event lies before its commit; true if none tells.

        A push back comes from a commit ahead of it, or beside it.
        """
        old = push.old_commit or ""
        if old in {"", mark.old_commit}:
            return True
        try:
            return await self._history.contains(work, push, old) is not False
        except Unreachable:
            return True

    async def _read(self, push: Push, since: datetime) -> Sequence[Movement]:
        """Return movements of the ref, but for the push itself and those that others covered.

        A push that was covered is settled by the one that covers it, which has records, too.
        """
        found = await read_movements(self._ledger, push.repository, since=since)
        return [
            each
            for each in found.get(push.ref, ())
            if each.event_id != push.id and each.verdict != Verdict.SUPERSEDED
        ]
