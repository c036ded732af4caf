"""Lost, late and doubled events under kills and faults: after one round each tip was built, once.

All refs are at their tips from the start, as the baseline is of before. `python -m
support.chaos_lost` is the long run; the suite has a short one.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import anyio
import click
import orjson
from support.chaos import Fleet, Plan, Report, make_pushes, never_redrive, open_fleet
from support.service import read_dead_letters

from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.requests.start_build import EVENT_ID
from asyncbuild.domain.repository import Repository
from asyncbuild.local.servers import journal
from asyncbuild.local.servers.served import ACCOUNT, REGION
from asyncbuild.local.stack import Stack, open_stack, redrive_policy
from asyncbuild.local.verify import Findings, Pushed
from asyncbuild.local.workload import event_of
from asyncbuild.reconcile.planning.ref_snapshot import RefSnapshot, dump_snapshot
from asyncbuild.reconcile.planning.round_messages import RoundOrder, dump_order
from asyncbuild.storage.s3 import Store

_GRACE_SECONDS: Final = 3
_SILENCE_SECONDS: Final = 120.0
_ROUND_SECONDS: Final = 15.0  # between two rounds while events still come
_BASELINE_AGE: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class LostPlan:
    """Amounts of everything; an hour of lateness is `late_seconds`."""

    chaos: Plan
    lost: float = 0.05
    late: float = 0.05
    twice: float = 0.05
    late_seconds: float = 60.0


@dataclass(slots=True)
class LostReport:
    """What became of the pushes, by the servers' records."""

    chaos: Report
    pushes: int = 0
    lost: int = 0
    late: int = 0
    twice: int = 0
    tips: int = 0
    tips_lost: int = 0
    built: int = 0
    found: int = 0
    unbuilt: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Everything that must not be there."""
        return [*self.unbuilt, *self.doubled, *self.out_of_order, *self.left, *self.chaos.bugs]

    def text(self) -> str:
        """Return the report for people."""
        lines = [
            (
                f"{self.pushes} pushes in {self.chaos.seconds:.0f} s: {self.lost} events lost, "
                f"{self.late} late, {self.twice} twice"
            ),
            f"{self.chaos.kills} SIGKILL, {self.chaos.terms} SIGTERM",
            (
                f"{self.built} built, {self.found} of them found by rounds; {self.tips} refs, of "
                f"which {self.tips_lost} had lost the event of their tip"
            ),
            (
                f"tips not built {len(self.unbuilt)}, doubled {len(self.doubled)}, "
                f"out of order {len(self.out_of_order)}, left {len(self.left)}"
            ),
        ]
        return "\n".join([*lines, *(f"WRONG: {each}" for each in self.wrong[:20])])


@dataclass
class _World:
    stack: Stack
    rounds: str
    dead_letters: str
    plan: LostPlan
    report: LostReport
    random: Random

    async def send(self, push: Pushed) -> None:
        """Send an event as a rule does; each time under a deduplication id of its own."""
        await self.stack.sqs.send_message(
            QueueUrl=self.stack.settings.queue.url,
            MessageBody=orjson.dumps(event_of(push)).decode(),
            MessageGroupId=push.group,
            MessageDeduplicationId=f"{push.id}-{self.random.random()}",
        )

    async def round(self) -> None:
        """Send a round, as the Scheduler does."""
        await self.stack.sqs.send_message(
            QueueUrl=self.rounds,
            MessageBody=dump_order(RoundOrder(datetime.now(UTC))),
            MessageGroupId="round",
            MessageDeduplicationId=str(time.time()),
        )

    async def take_baseline(self, lane: Sequence[Pushed], when: datetime) -> None:
        """Write a snapshot of a repository that has its first push alone."""
        first, settings = lane[0], self.stack.settings.storage
        repository = Repository.of_codecommit(ACCOUNT, REGION, first.repository)
        refs = f"{first.commit} {first.ref}\n".encode()
        snapshot = RefSnapshot(when, when, first.group, tags=False, refs=refs)
        key = LedgerKeys(settings.ledger_prefix).snapshot(repository)
        await Store(self.stack.s3, settings).replace_record(key, dump_snapshot(snapshot))

    async def waiting(self) -> int:
        """Return the number of messages in both queues, hidden ones too."""
        names: Any = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
        ]
        answer = await self.stack.sqs.get_queue_attributes(
            QueueUrl=self.rounds, AttributeNames=names
        )
        counts: Mapping[Any, str] = answer["Attributes"]
        return await self.stack.count_waiting() + sum(int(counts[name]) for name in names)


async def run(plan: LostPlan) -> LostReport:
    """Run the plan, and return its report."""
    report = LostReport(Report(Findings()))
    names = [f"repository-{number:03d}" for number in range(plan.chaos.repositories)]
    random = Random(f"{plan.chaos.seed}/lost")  # noqa: S311 - repeatable, not secret
    async with open_stack(names) as stack:
        await never_redrive(stack)
        rounds, dead = await _make_queue(stack)
        world = _World(stack, rounds, dead, plan, report, random)
        lanes = await make_pushes(stack.directory, plan.chaos)
        when = datetime.now(UTC) - _BASELINE_AGE
        # A second apart, as events have whole seconds: which of two is later decides.
        lanes = [
            [replace(push, time=when.timestamp() + 60 + n) for n, push in enumerate(lane)]
            for lane in lanes
        ]
        for lane in lanes:
            await world.take_baseline(lane, when)
        queues = {"url": rounds, "dead_letter_url": dead, "grace_seconds": _GRACE_SECONDS}
        settings = {"reconcile": queues}
        begun = time.monotonic()
        async with open_fleet(stack, plan.chaos, report.chaos, settings) as fleet:
            await _tell(world, fleet, lanes)
            report.chaos.seconds = time.monotonic() - begun
        await _look(world, lanes)
    return report


async def _make_queue(stack: Stack) -> tuple[str, str]:
    fifo: Any = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    dead = (await stack.sqs.create_queue(QueueName="reconcile-dead.fifo", Attributes=fifo))[
        "QueueUrl"
    ]
    policy: Any = {"RedrivePolicy": await redrive_policy(stack.sqs, dead, 1_000)}
    made = await stack.sqs.create_queue(QueueName="reconcile.fifo", Attributes={**fifo, **policy})
    return made["QueueUrl"], dead


async def _tell(world: _World, fleet: Fleet, lanes: Sequence[Sequence[Pushed]]) -> None:
    """Send the events, with kills; when all have come and all is quiet, make one more round."""
    plan, random, late = world.plan, world.random, list[tuple[float, Pushed]]()
    report, now = world.report, time.monotonic()
    waiting = [list(lane) for lane in lanes]
    while any(waiting):
        lane = random.choice([lane for lane in waiting if lane])
        push = lane.pop(0)
        report.pushes += 1
        drawn = random.random() if push.id != lanes[waiting.index(lane)][0].id else 1.0
        if drawn < plan.lost:
            report.lost += 1
            report.tips_lost += all(each.ref != push.ref for each in lane)
        elif drawn < plan.lost + plan.late:
            report.late += 1
            late.append((now + random.uniform(0.1, 1.0) * plan.late_seconds, push))
        else:
            await world.send(push)
            if drawn < plan.lost + plan.late + plan.twice:
                report.twice += 1
                late.append((now + random.uniform(0.0, 1.0) * plan.late_seconds, push))
    await _fight_on(world, fleet, sorted(late, key=lambda each: each[0]))
    await world.round()
    await _fight_on(world, fleet, [])


async def _fight_on(world: _World, fleet: Fleet, late: list[tuple[float, Pushed]]) -> None:
    """Kill, send late events in their time, begin rounds, until nothing is left or moves."""
    chaos, plan = world.report.chaos, world.plan.chaos
    left, moved = -1, time.monotonic()
    strike_at, round_at = moved + plan.kill_seconds[1], moved + _ROUND_SECONDS
    while (now := time.monotonic()) - moved < _SILENCE_SECONDS:
        while late and late[0][0] <= now:
            await world.send(late.pop(0)[1])
        waiting = await world.waiting()
        if waiting == 0 and not late:
            return
        if waiting != left:
            left, moved = waiting, now
        if now >= strike_at and chaos.kills < plan.kills:
            fleet.strike(world.random)
            strike_at = now + world.random.uniform(*plan.kill_seconds)
        if late and now >= round_at:
            await world.round()
            round_at = now + _ROUND_SECONDS
        await anyio.sleep(0.1)


async def _look(world: _World, lanes: Sequence[Sequence[Pushed]]) -> None:
    """Compare the builds that CodeBuild accepted with the moves of the refs."""
    report = world.report
    started = journal.read(world.stack.journal)
    report.built = len(started)
    report.found = sum(each.variables[EVENT_ID].startswith("found-") for each in started)
    places = {
        (push.repository, push.ref, push.commit): place
        for lane in lanes
        for place, push in enumerate(lane)
    }
    newest: dict[tuple[str, str], int] = {}
    seen: set[tuple[str, str, str]] = set()
    for each in started:
        told = each.variables
        build = (told["REPOSITORY_NAME"], told["REF"], told["COMMIT_ID"])
        place = places[build]
        if build in seen:
            report.doubled.append(f"{build} was built again, as {told[EVENT_ID]}")
        elif newest.get(build[:2], -1) > place:
            report.out_of_order.append(f"{build} was built after a later push of its ref")
        seen.add(build)
        newest[build[:2]] = max(newest.get(build[:2], -1), place)
    tips = {(push.repository, push.ref): push for lane in lanes for push in lane}
    report.tips = len(tips)
    for push in tips.values():
        if (push.repository, push.ref, push.commit) not in seen:
            report.unbuilt.append(f"{push}: the tip was not built")
    if left := await world.waiting():
        report.left.append(f"{left} messages are left")
    report.left += [str(each) for each in await read_dead_letters(world.stack)]


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--pushes", default=2_000, show_default=True)
@click.option("--repositories", default=40, show_default=True)
@click.option("--processes", default=4, show_default=True)
@click.option("--kills", default=60, show_default=True)
@click.option("--late-seconds", default=300.0, show_default=True, help="The longest lateness.")
def main(
    seed: int, pushes: int, repositories: int, processes: int, kills: int, late_seconds: float
) -> None:
    """Run for long; exit code 1 if anything is wrong."""
    chaos = Plan(
        seed=seed,
        pushes=pushes,
        repositories=repositories,
        processes=processes,
        kills=kills,
        big_pushes=0,
        depth=0,  # whether a late push is contained in a newer one is asked of each mirror
    )
    report = anyio.run(run, LostPlan(chaos, late_seconds=late_seconds))
    click.echo(report.text())
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
