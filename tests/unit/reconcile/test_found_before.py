"""Events without a time of their own: told from pushes back by old commits, records and tips."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.lost_world import Server
from support.records import Records

from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_records import Head
from asyncbuild.domain.model import Change, Message, Outcome, Push, Verdict
from asyncbuild.domain.movements import FoundMark
from asyncbuild.domain.repository import Repository
from asyncbuild.pushes.ancestry import History
from asyncbuild.pushes.found_before import FoundBefore
from asyncbuild.pushes.work import Work

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
REPOSITORY = Repository.of_host("gitlab.example.org", "acme", "web")
MAIN = "refs/heads/main"


class Place:
    """A line of commits, of which the third was found at noon, when the first was known."""

    def __init__(self) -> None:
        self.server = Server()
        self.commits = [self.server.commit("")]
        for _ in range(4):
            self.commits.append(self.server.commit(self.commits[-1]))
        self.ledger = Ledger(Records(), prefix="")
        mirrors: Any = self.server
        self.found = FoundBefore(self.ledger, History(mirrors, mirrors))

    async def is_told(self, *, old: int | None, head: int, tip: int) -> bool:
        """Return whether an event of the third commit, an hour later, tells nothing new.

        Args:
            old: Number of the event's old commit; None if it has none.
            head: Number of the commit that was built last.
            tip: Number of the commit that the ref is at.
        """
        commits = self.commits
        self.server.refs[MAIN] = commits[tip]
        mark = FoundMark(commits[2], NOON - timedelta(hours=1), NOON, "found", commits[0])
        before = None if old is None else commits[old]
        push = self.push("event", 2, before, NOON + timedelta(hours=1))
        newest = Head(commits[head], NOON, "found", found=(mark,))
        work = Work(Message("m", "", "", "g", 1), push)
        return bool(await self.found.why_told(work, push, newest))

    def push(self, id_: str, number: int, old: str | None, time: datetime) -> Push:
        """Return a push whose event has no time."""
        return Push(
            id_, REPOSITORY, MAIN, self.commits[number], Change.UPDATED, time, old, timed=False
        )


@pytest.mark.parametrize(
    ("old", "head", "tip", "told"),
    [
        (0, 2, 2, True),  # the same move
        (None, 2, 2, True),  # no old commit speaks against it
        (1, 2, 2, True),  # its old commit lies between: the event before it was lost, too
        (4, 2, 2, False),  # back from a commit ahead: another push
        (0, 4, 4, True),  # late, and the ref has moved on since
        (4, 4, 2, False),  # back from what was built last
        (0, 4, 2, False),  # the ref is there again
    ],
)
async def test_a_late_event_is_told_from_a_push_back(
    old: int | None,
    head: int,
    tip: int,
    told: bool,  # noqa: FBT001 - a case
) -> None:
    """One builds nothing a second time; the other is never lost."""
    assert await Place().is_told(old=old, head=head, tip=tip) is told


@pytest.mark.parametrize(("tip", "told"), [(3, True), (2, False)])
async def test_records_of_other_moves_let_the_tip_decide(tip: int, told: bool) -> None:  # noqa: FBT001 - a case
    """The ref was elsewhere since: an event for a commit that it left is late, else it is back."""
    place = Place()
    ignored = place.push("other", 3, place.commits[2], NOON + timedelta(minutes=30))
    await place.ledger.record(ignored, Outcome(Verdict.IGNORED, "nothing changed"))
    assert await place.is_told(old=0, head=2, tip=tip) is told
