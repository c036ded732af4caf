"""Events that are lost, late, doubled and disordered; rounds at any time; kills between any steps.

`ASYNCBUILD_WORLD_EXAMPLES` sets how many worlds are tried; `make chaos` asks for 5,000.
"""

import asyncio
import os
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support.lost_world import GRACE, REPOSITORY, LostWorld

from asyncbuild.reconcile.planning.ref_lines import iter_refs
from asyncbuild.reconcile.planning.ref_snapshot import load_snapshot
from asyncbuild.runtime import log as logs

_EXAMPLES = int(os.environ.get("ASYNCBUILD_WORLD_EXAMPLES", "100"))
_STEPS = 40 if _EXAMPLES >= 1_000 else 25
_REF = st.sampled_from(["refs/heads/main", "refs/heads/main", "refs/heads/a"])
_FATE = st.sampled_from(["now", "now", "now", "late", "late", "lost", "twice"])
_KILL = st.none() | st.integers(0, 9)


class Lost(RuleBasedStateMachine):
    """After quiet and one round each tip was built, no move twice, no found push out of order."""

    @initialize(
        stale=st.sampled_from(["skip", "build"]), timed=st.sampled_from([True, True, False])
    )
    def begin(self, stale: str, timed: bool) -> None:  # noqa: FBT001 - drawn
        """Take the baseline of a repository with one branch."""
        logs.mute()
        self.runner = asyncio.Runner()
        self.stale = stale
        self.world = LostWorld(stale=stale, timed=timed)
        self.late: list[str] = []
        self.world.move("refs/heads/main", self.world.server.commit(""))
        self._run(self.world.look())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self.runner.run(work)

    @rule(ref=_REF, kind=st.sampled_from(["on", "on", "on", "aside", "back", "away"]), fate=_FATE)
    def any_push(self, ref: str, kind: str, fate: str) -> None:
        """Move a ref."""
        self.push(ref, kind, fate)

    def push(self, ref: str, kind: str, fate: str) -> None:
        """Move a ref: on, aside by force, back to an older commit, or delete it."""
        world = self.world
        tip = world.server.refs.get(ref, "")
        before = [each.commit for each in world.server.moves if each.ref == ref and each.commit]
        match kind:
            case "aside":
                commit = world.server.commit(world.server.parents.get(tip, ""))
            case "back" if before:
                commit = before[len(world.builds) % len(before)]
            case "away" if tip:
                commit = ""
            case _:
                commit = world.server.commit(tip)
        if commit == tip:
            return
        event = world.move(ref, commit)
        if fate == "late":
            self.late.append(event)
        elif fate == "lost":
            world.lost.add(event)
        else:
            world.deliver(event)
            if fate == "twice":
                world.deliver(event)

    @precondition(lambda self: self.late)
    @rule(place=st.integers(0, 50))
    def deliver_late(self, place: int) -> None:
        """Deliver a late event, whatever came after it."""
        self.world.deliver(self.late.pop(place % len(self.late)))

    @rule(place=st.integers(0, 50))
    def deliver_again(self, place: int) -> None:
        """Replay an event that was delivered before."""
        held = self.world.lost | set(self.late) | {"event-0"}
        known = [each for each in self.world.events if each not in held]
        if known:
            self.world.deliver(known[place % len(known)])

    @rule(kill_in=_KILL)
    def work(self, kill_in: int | None) -> None:
        """Settle the oldest message of the queue, or die in the middle."""
        self._run(self.world.work(kill_in=kill_in))

    @rule(kill_in=_KILL)
    def look(self, kill_in: int | None) -> None:
        """Look at the repository, or die in the middle."""
        self._run(self.world.look(kill_in=kill_in))

    @rule(kill_in=_KILL, moves=st.booleans(), ref=_REF, fate=_FATE)
    def round(self, kill_in: int | None, moves: bool, ref: str, fate: str) -> None:  # noqa: FBT001 - drawn
        """Look twice, the grace apart, while the queue is stuck; a ref may move meanwhile."""
        self._run(self.world.look())
        self.world.now += GRACE

        def move() -> None:
            self.push(ref, "aside", fate)

        self._run(self.world.look(kill_in=kill_in, before_send=move if moves else None))

    @rule(seconds=st.sampled_from([1, 60, 300, 601, 3_600]))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.world.now += timedelta(seconds=seconds)

    def teardown(self) -> None:
        """Quiet, one round, and then all that is late."""
        if not hasattr(self, "world"):
            return
        with self.runner:
            self._run(self._end())

    async def _end(self) -> None:
        world = self.world
        await self._drain()
        known = await self._snapshot()
        for _ in range(2):
            world.now += GRACE
            await world.look()
        await self._drain()
        assert world.unbuilt(known) == []
        self._check()
        for event in self.late:
            world.deliver(event)
        await self._drain()
        for _ in range(2):
            world.now += GRACE
            await world.look()
        await self._drain()
        self._check()

    def _check(self) -> None:
        if self.world.timed:
            assert self.world.doubled() == []
            assert self.world.disordered() == []

    async def _drain(self) -> None:
        while self.world.queue:
            self.world.now += timedelta(seconds=1)
            await self.world.work()

    async def _snapshot(self) -> dict[str, str]:
        stored = await self.world.rounds.read_snapshot(REPOSITORY)
        assert stored is not None
        return dict(iter_refs(load_snapshot("", stored.body).refs))


Lost.TestCase.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=_STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLost = Lost.TestCase
