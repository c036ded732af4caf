"""What becomes of a message of the queue of rounds when its forge fails."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from support.listening import hearing
from support.records import Records

from asyncbuild.builds.reconcile_ledger import ReconcileLedger
from asyncbuild.domain.errors import Busy
from asyncbuild.domain.model import Message
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.settling import Done, Hide, Settling
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.listed_refs import Taker
from asyncbuild.reconcile.planning.round_messages import RoundOrder, dump_order
from asyncbuild.reconcile.planning.wanted_refs import WantedRefs
from asyncbuild.reconcile.reconcile_worker import ReconcileWorker
from asyncbuild.reconcile.reconciler import Reconciler
from asyncbuild.reconcile.repository_groups import RepositoryGroups
from asyncbuild.reconcile.told_failures import ToldFailures

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
ONE, TWO = (Repository.of_host("git.example.org", "acme", name) for name in ("one", "two"))
ELSEWHERE = Repository.of_host("github.com", "acme", "one")
SILENT = GitFailed("git was silent for 120 s", fault=GitFault.SILENT)
LIMIT = Busy("429", peer="git")


@dataclass
class Forges:
    """Forges that show no refs, or fail; they count how often each repository was asked for."""

    failing: dict[str, Exception] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    now: float = 0.0

    async def stream_refs(
        self, repository: Repository, make: Callable[[], Taker], *, tags: bool
    ) -> Taker:
        """List the refs of a repository."""
        assert not tags
        self.asked[repository.path] += 1
        if error := self.failing.get(repository.forge):
            raise error
        return make()


@pytest.fixture
def forges() -> Forges:
    """Forges that work."""
    return Forges()


@pytest.fixture
def worker(forges: Forges) -> ReconcileWorker:
    """Return a worker that looks at repositories of the forges."""
    ledger = ReconcileLedger(Records(), prefix="ledger/")
    reconciler = Reconciler(
        mirrors=forges,
        ledger=ledger,
        groups=RepositoryGroups(ledger, cast("Any", None)),
        sender=None,
        wanted=WantedRefs(()),
        grace=timedelta(minutes=10),
        clock=lambda: NOON,
    )
    return ReconcileWorker(
        reconciler,
        cast("Any", None),
        ToldFailures(),
        monotonic=lambda: forges.now,
        clock=lambda: NOON,
    )


async def settle(worker: ReconcileWorker, repository: Repository, count: int = 1) -> Settling:
    """Settle the message of a round for a repository."""
    body = dump_order(RoundOrder(NOON, repository))
    return await worker.settle(Message("m", body, "handle", repository.path, 1, count))


async def test_after_a_silent_server_others_of_it_wait(
    forges: Forges, worker: ReconcileWorker
) -> None:
    """A thousand repositories of a host that hangs would hold up those of all others for a day."""
    forges.failing[ONE.forge] = SILENT
    with hearing() as lines:
        assert await settle(worker, ONE) == Done()  # looked at again in the next round
    assert [each["event"] for each in lines] == ["reconcile.failed"]
    assert isinstance(await settle(worker, TWO), Hide)
    assert await settle(worker, ELSEWHERE) == Done()
    assert forges.asked == {ONE.path: 1, ELSEWHERE.path: 1}
    forges.failing.clear()
    forges.now += 15
    assert await settle(worker, TWO) == Done()


async def test_a_forge_that_throttles_is_left_alone_for_longer_each_time(
    forges: Forges, worker: ReconcileWorker
) -> None:
    """And for as long as it says; after a success it is asked as before."""
    forges.failing[ONE.forge] = LIMIT
    for seconds in (15, 30, 60):
        hidden = await settle(worker, ONE)
        assert isinstance(hidden, Hide)
        assert seconds <= hidden.seconds <= 1.25 * seconds + 1
        assert isinstance(await settle(worker, TWO), Hide)
        forges.now += seconds
    forges.failing[ONE.forge] = Busy("429", peer="git", after_seconds=300)
    assert isinstance(await settle(worker, ONE), Hide)
    forges.failing.clear()
    forges.now += 299
    assert isinstance(await settle(worker, ONE), Hide)
    assert forges.asked == {ONE.path: 4}
    forges.now += 1
    assert await settle(worker, ONE) == Done()
    forges.failing[ONE.forge] = LIMIT
    hidden = await settle(worker, ONE)
    assert isinstance(hidden, Hide)
    assert hidden.seconds < 30


async def test_a_bug_concerns_one_repository(forges: Forges, worker: ReconcileWorker) -> None:
    """The others are looked at; so is this one in the next round."""
    forges.failing[ONE.forge] = ZeroDivisionError("x")
    with hearing() as lines:
        assert await settle(worker, ONE) == Done()
    assert "internal error: ZeroDivisionError" in lines[0]["reason"]


async def test_a_message_that_comes_too_often_is_left_to_the_next_round(
    forges: Forges, worker: ReconcileWorker
) -> None:
    """It never becomes a dead letter."""
    assert await settle(worker, ONE, 20) == Done()
    assert await settle(worker, ONE, 21) == Done()
    assert forges.asked == {ONE.path: 1}
