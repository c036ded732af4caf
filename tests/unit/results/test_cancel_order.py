"""Order of pushes as superseded builds follow it: single courses in the world of random ones."""

from random import Random
from typing import Any

from support.cancel_world import (
    CancelCourse,
    CancelProcess,
    CancelWorld,
    Waiting,
    make_targets,
)
from support.result_world import PREFIX
from support.result_world_servers import WorldRecords

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.model import Push

MAIN = "refs/heads/main"


class _Lane:
    """A lane of pushes of one branch, and a process that settles them and consumes results."""

    def __init__(self, *, timed: bool = True) -> None:
        self.world = CancelWorld(Random(1), timed=timed)  # noqa: S311 - the same in every run
        self.process: CancelProcess = self.world.cancel_process()

    def push(self, *, ref: str = MAIN, after_seconds: float = 10) -> Push:
        """Move a branch forward."""
        self.world.advance(after_seconds)
        return self.world.push(ref, "forward")

    async def settle(self, push: Push, name: str = "web") -> CancelCourse:
        """Settle a push beside a worker that stops older builds; return its build."""
        number, targets = int(push.id.removeprefix("e")), make_targets([name], cancels=True)
        waiting = Waiting(push, number, targets, ["SUCCEEDED"], 9_000, 0)
        assert await self.world.cancel_process().dispatch(waiting, noticed=True)
        return next(each for each in self.world.own_courses() if each.event_id == push.id)

    async def sweep(self) -> None:
        """Let a round be made."""
        self.world.sweep()
        while any(each.visible_at <= self.world.now for each in self.world.messages):
            assert await self.process.consumer.turn() is not None

    def runs(self, course: CancelCourse) -> bool:
        """Return whether a build runs."""
        return course.running(self.world.now) is not None


async def test_a_newer_push_stops_the_build_of_the_older_one() -> None:
    """Right after its start; the other tests would show nothing otherwise."""
    lane = _Lane()
    older, newer = [await lane.settle(lane.push()) for _ in range(2)]
    assert [lane.runs(each) for each in (older, newer)] == [False, True]


async def test_what_is_not_of_the_same_branch_and_target_runs_on() -> None:
    """Builds of another branch, and executions beside builds."""
    lane = _Lane()
    other = await lane.settle(lane.push(ref="refs/heads/dev"))
    deploy = await lane.settle(lane.push(), "deploy")
    older, newer = [await lane.settle(lane.push()) for _ in range(2)]
    await lane.sweep()
    courses = (other, deploy, older, newer)
    assert [lane.runs(each) for each in courses] == [True, True, False, True]


async def test_an_older_push_that_is_forced_stops_nothing_and_is_not_stopped() -> None:
    """A person wants its build: neither the newest push, nor one after it, nor a round stops it."""
    lane = _Lane()
    late, usual = lane.push(), lane.push()
    newer = await lane.settle(usual)
    records: Any = WorldRecords(lane.world, faulty=False)
    await Ledger(records, prefix=PREFIX).force(late)
    forced = await lane.settle(late)
    assert lane.world.entry(forced) is None
    await lane.sweep()
    assert [lane.runs(each) for each in (forced, newer)] == [True, True]
    newest = await lane.settle(lane.push())
    await lane.sweep()
    assert [lane.runs(each) for each in (forced, newer, newest)] == [True, False, True]


async def test_a_push_without_a_time_stops_nothing_unless_it_is_at_the_tip() -> None:
    """The branch has moved on: git shows it at another commit, and no order is known."""
    lane = _Lane(timed=False)
    older = await lane.settle(lane.push())
    pushed, newest = lane.push(), lane.push()
    newer = await lane.settle(pushed)
    await lane.sweep()
    assert [lane.runs(each) for each in (older, newer)] == [True, True]
    last = await lane.settle(newest)
    assert [lane.runs(each) for each in (older, newer, last)] == [False, False, True]


async def test_pushes_of_the_same_second_are_ordered_by_git() -> None:
    """Their times are equal: the first one settled stops nothing, as the branch has moved on."""
    lane = _Lane()
    older = await lane.settle(lane.push())
    first, second = lane.push(), lane.push(after_seconds=0)
    newer = await lane.settle(first)
    assert [lane.runs(each) for each in (older, newer)] == [False, True]
    last = await lane.settle(second)
    assert [lane.runs(each) for each in (newer, last)] == [False, True]
    entry = lane.world.entry(last)
    assert entry is not None
    assert entry.is_ordered
