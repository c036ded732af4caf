"""Order under faults: several processes on one queue, killed and stopped, behind bad connections.

At the end the servers' own records decide: queue, dead-letter queue, bucket, CodeBuild's journal.
`python -m support.chaos` is the long run; the suite has a short one.
"""

import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import click
import orjson
from support.chaos_proxy import ChaosProxy, Fault, Odds, open_chaos_proxy
from support.service import Service, environment, open_service, read_dead_letters

from asyncbuild.local.expected_tree import run_git
from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import Findings, Pushed, verify
from asyncbuild.local.workload import PushedRepository, event_of

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

_EPOCH = 1_790_000_000
_BIG_BYTES = 10 * 1024 * 1024  # several parts, and large enough to be a base
_SILENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Amounts of everything. Every fifth end is a SIGTERM, the others are SIGKILLs."""

    seed: int = 1
    repositories: int = 40
    pushes: int = 2_000
    big_pushes: int = 10  # of the first repository; later ones are deltas of older archives
    processes: int = 4
    kills: int = 60
    kill_seconds: tuple[float, float] = (1.5, 4.0)
    visibility_seconds: int = 6
    depth: int = 1  # of the mirrors
    odds: Odds = field(default_factory=Odds)


@dataclass(slots=True)
class Report:
    """Events of a run, and the findings in the servers' records."""

    findings: Findings
    seconds: float = 0.0
    kills: int = 0
    terms: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    faults: Counter[tuple[str, str, Fault]] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    left_in_queue: int = 0
    dead_letters: list[str] = field(default_factory=list)
    unexplained_uploads: list[str] = field(default_factory=list)
    explained_uploads: int = 0
    records: int = 0
    log: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)  # of archives
    bugs: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Return everything that must not be there."""
        left = [f"{self.left_in_queue} messages are left"] if self.left_in_queue else []
        exits = [f"exit code {code}" for code in self.exits if code]
        return [
            *self.findings.faults,
            *left,
            *self.dead_letters,
            *self.unexplained_uploads,
            *self.bugs,
            *exits,
        ]

    def text(self) -> str:
        """Return the report as a table."""
        found = self.findings
        doubled, disordered = len(found.duplicated), len(found.out_of_order)
        kept = self.explained_uploads
        lines = [
            f"{found.pushes} pushes, {found.built} built in {self.seconds:.0f} s",
            f"{self.kills} SIGKILL, {self.terms} SIGTERM, {sum(self.requests.values())} requests",
            f"lost {len(found.missing) + self.left_in_queue}, duplicated {doubled}",
            f"out of order {disordered}, wrong objects {len(found.wrong_content)}",
            f"unexpected {len(found.unexpected)}, dead-lettered {len(self.dead_letters)}",
            f"left-over uploads: {len(self.unexplained_uploads)}",
            f"uploads of killed processes, or with an id that nobody was told: {kept}",
            f"{self.records} records in the ledger; {sum(self.faults.values())} faults injected:",
        ]
        names = sorted({(service, operation) for service, operation, _ in self.faults})
        heads = [fault.value.removesuffix(" the server acted") for fault in Fault]
        lines.append(f"  {'':34}{'requests':>10}" + "".join(f"{head:>14}" for head in heads))
        for service, operation in names:
            cells = "".join(f"{self.faults[service, operation, fault]:>14}" for fault in Fault)
            name = f"{service} {operation}"
            lines.append(f"  {name:34}{self.requests[operation]:>10}{cells}")
        lines.append(f"archives: {dict(self.kinds)}")
        lines.append(f"log: {dict(self.log.most_common(12))}")
        return "\n".join([*lines, *(f"WRONG: {each}" for each in self.wrong[:20])])


# --- pushes ---------------------------------------------------------------------------------------


async def make_pushes(directory: Path, plan: Plan) -> list[list[Pushed]]:
    """Make a repository for each list, with one small commit for each push."""
    made = []
    for number in range(plan.repositories):
        count = plan.pushes // plan.repositories + (number < plan.pushes % plan.repositories)
        big = plan.big_pushes if number == 0 else 0
        random = Random(f"{plan.seed}/{number}")  # noqa: S311 - repeatable, not secret
        made.append(await _make_repository(directory, number, count, random=random, big=big))
    return made


async def _make_repository(
    directory: Path, number: int, count: int, *, random: Random, big: int
) -> list[Pushed]:
    remote = PushedRepository(
        f"repository-{number:03d}", directory / "remotes" / f"repository-{number:03d}"
    )
    await run_git("init", "--quiet", "--bare", "--initial-branch=main", str(remote.directory))
    branches = [random.choice(["main", "main", "feature/a", "fix/b"]) for _ in range(count)]
    branches[0] = "main"
    stream, known = [], set[str]()
    for n, branch in enumerate(branches, 1):
        content = random.randbytes(_BIG_BYTES if n <= big else 600)
        stream.append(
            b"commit refs/heads/%s\nmark :%d\ncommitter C <c@example.com> %d +0000\ndata 2\nx\n%s"
            b"M 100644 inline %s\ndata %d\n%s\n"
            % (
                branch.encode(), n, _EPOCH + n,
                b"" if branch in known or n == 1 else b"from refs/heads/main\n",
                b"big" if n <= big else b"file-%d" % (n % 7), len(content), content,
            )
        )  # fmt: skip
        known.add(branch)
    marks = directory / f"{remote.name}.marks"
    command = ["fast-import", "--quiet", f"--export-marks={marks}"]
    await run_git(*command, directory=remote.directory, given=b"".join([*stream, b"done\n"]))
    lines = (line.split() for line in marks.read_text("ascii").splitlines())
    commits = {int(mark[1:]): commit for mark, commit in lines}
    tips: dict[str, str] = {}
    pushes = []
    for n, branch in enumerate(branches, 1):
        pushes.append(remote.pushed(f"refs/heads/{branch}", commits[n], tips.get(branch)))
        tips[branch] = commits[n]
    return pushes


async def send_all(stack: Stack, lanes: Sequence[Sequence[Pushed]], random: Random) -> list[Pushed]:
    """Send everything, repositories mixed, each in its order; return the order sent."""
    waiting = [list(lane) for lane in lanes]
    sent: list[Pushed] = []
    while any(waiting):
        sent.append(random.choice([lane for lane in waiting if lane]).pop(0))
    for first in range(0, len(sent), 10):
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {
                "Id": str(n),
                "MessageBody": orjson.dumps(event_of(push)).decode(),
                "MessageGroupId": push.group,
            }
            for n, push in enumerate(sent[first : first + 10])
        ]
        await stack.sqs.send_message_batch(QueueUrl=stack.settings.queue.url, Entries=entries)
    return sent


# --- processes ------------------------------------------------------------------------------------


@dataclass
class Fleet:
    """Processes of the service, each started again when it has ended, until `ending`."""

    stack: Stack
    plan: Plan
    proxies: Sequence[ChaosProxy]
    report: Report
    more_settings: Mapping[str, Any] = field(default_factory=dict)
    running: dict[int, Service] = field(default_factory=dict)
    ending: bool = False
    killed_ports: set[int] = field(default_factory=set)

    async def keep(self, number: int) -> None:
        """Run process `number` again and again."""
        while not self.ending:
            async with open_service(self._variables(number)) as service:
                self.running[number] = service
                code = await service.process.wait()
                del self.running[number]
            self._note(code, service)

    def strike(self, random: Random) -> None:
        """Kill a process, or ask it to stop."""
        if not self.running:
            return
        number = random.choice(sorted(self.running))
        service = self.running[number]
        if random.random() < 1 / 5:
            self.report.terms += 1
            service.terminate()
        else:
            self.report.kills += 1
            self.killed_ports |= {proxy.ports[number] for proxy in self.proxies}
            service.kill()

    def end(self) -> None:
        """Let all processes stop."""
        self.ending = True
        for service in self.running.values():
            service.terminate()

    def _note(self, code: int, service: Service) -> None:
        listening = any(line.get("event") == "service.started" for line in service.log)
        # SIGTERM ends a process whose Python is still starting as it ends any other program.
        if code != -signal.SIGKILL and (listening or code != -signal.SIGTERM):
            self.report.exits[code] += 1
        self.report.log.update(str(line.get("event")) for line in service.log)
        self.report.kinds.update(
            str(line["archive_kind"])
            for line in service.log
            if line.get("event") == "push.upload.finished"
        )
        bugs = [line for line in service.log if line.get("event") == "push.bug"]
        self.report.bugs += [orjson.dumps(line).decode() for line in bugs]
        text = "\n".join(str(line["text"]) for line in service.log if line.get("event") == "text")
        if text:
            self.report.bugs.append(f"exit code {code} and no log lines:\n{text}")

    def _variables(self, number: int) -> dict[str, str]:
        sqs, s3, builds = (proxy.endpoint_url(number) for proxy in self.proxies)
        return environment(
            self.stack,
            consumers=4,
            shutdown_grace_seconds=6,
            aws={"max_tries": 3, "read_timeout_seconds": 5},
            queue={
                "endpoint_url": sqs,
                "visibility_timeout_seconds": self.plan.visibility_seconds,
                "wait_seconds": 1,
            },
            storage={"endpoint_url": s3, "part_bytes": 5 * 1024 * 1024},
            builds={"endpoint_url": builds},
            # A push hit by many random kills is not a poison message, and a push whose requests
            # often fail is not a bad push: the thresholds are above what chance reaches here.
            lanes={
                "max_attempts": 10,
                "retry_first_seconds": 0.1,
                "retry_most_seconds": 1,
                "busy_most_seconds": 1,
            },
            git={
                "cache_directory": str(self.stack.directory / f"cache-{number}"),
                "depth": self.plan.depth,
            },
            status={"listen": "off"},
            **self.more_settings,
        )


@asynccontextmanager
async def open_fleet(
    stack: Stack, plan: Plan, report: Report, more_settings: Mapping[str, Any] | None = None
) -> AsyncIterator[Fleet]:
    """Run the processes of a plan behind faulty proxies, with more settings."""
    more: dict[str, Any] = {"processes": plan.processes, "odds": plan.odds, "seed": plan.seed}
    async with AsyncExitStack() as exits:
        enter = exits.enter_async_context
        aws, builds = str(stack.settings.aws.endpoint_url), stack.standin.endpoint_url
        proxies = [
            await enter(open_chaos_proxy("sqs", aws, **more)),
            await enter(open_chaos_proxy("s3", aws, **more)),
            await enter(open_chaos_proxy("codebuild", builds, **more)),
        ]
        fleet = Fleet(stack, plan, proxies, report, more_settings or {})
        async with anyio.create_task_group() as tasks:
            for number in range(plan.processes):
                tasks.start_soon(fleet.keep, number)
            yield fleet
            for proxy in proxies:
                proxy.calm = True
            fleet.end()


async def run(plan: Plan) -> Report:
    """Run the plan, and return its report."""
    report = Report(Findings())
    names = [f"repository-{number:03d}" for number in range(plan.repositories)]
    random = Random(f"{plan.seed}/kills")  # noqa: S311 - repeatable, not secret
    async with open_stack(names) as stack:
        await never_redrive(stack)
        lanes = await make_pushes(stack.directory, plan)
        begun = time.monotonic()
        sent = await send_all(stack, lanes, random)
        async with open_fleet(stack, plan, report) as fleet:
            await fight(fleet, random)
            report.seconds = time.monotonic() - begun
        await _look(stack, fleet, sent)
    return report


async def never_redrive(stack: Stack) -> None:
    """Keep the queue from redriving.

    Each kill uses a receive, and here are more kills than in years.
    """
    url = stack.settings.queue.url
    answer = await stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    policy = {**orjson.loads(answer["Attributes"]["RedrivePolicy"]), "maxReceiveCount": 1000}
    attributes: Any = {"RedrivePolicy": orjson.dumps(policy).decode()}
    await stack.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)


async def fight(fleet: Fleet, random: Random) -> None:
    """Kill until there were enough kills, and wait until all is settled or nothing moves."""
    report, plan, stack = fleet.report, fleet.plan, fleet.stack
    left, moved, strike_at = -1, time.monotonic(), time.monotonic() + plan.kill_seconds[1]
    while (now := time.monotonic()) - moved < _SILENCE_SECONDS:
        waiting = await stack.count_waiting()
        if waiting == 0:
            return
        if waiting != left:
            left, moved = waiting, now
        if now >= strike_at and report.kills < plan.kills:
            fleet.strike(random)
            strike_at = now + random.uniform(*plan.kill_seconds)
        await anyio.sleep(0.1)


async def _look(stack: Stack, fleet: Fleet, sent: Sequence[Pushed]) -> None:
    """Read the servers' records into the report."""
    report = fleet.report
    report.left_in_queue = await stack.count_waiting()
    dead = await read_dead_letters(stack)
    report.dead_letters = [orjson.dumps(each.get("MessageAttributes")).decode() for each in dead]
    started = journal.read(stack.journal)
    report.findings = await verify(sent, started, s3=stack.s3, bucket=BUCKET)
    for proxy in fleet.proxies:
        report.requests.update(proxy.requests)
        for (operation, fault), count in proxy.counts.items():
            report.faults[proxy.service, operation, fault] += count
    s3 = fleet.proxies[1]
    uploads = (await stack.s3.list_multipart_uploads(Bucket=BUCKET)).get("Uploads", [])
    for upload in uploads:
        id_ = upload["UploadId"]
        if id_ in s3.unheard or s3.uploads.get(id_) in fleet.killed_ports:
            report.explained_uploads += 1
        else:
            report.unexplained_uploads.append(f"upload of {upload['Key']} was left behind")
    pages = stack.s3.get_paginator("list_objects_v2")
    async for page in pages.paginate(Bucket=BUCKET, Prefix=".asyncbuild/ledger/push/"):
        report.records += len(page.get("Contents", []))


@click.command()
@click.option("--seed", default=1, show_default=True)
@click.option("--pushes", default=2_000, show_default=True)
@click.option("--repositories", default=40, show_default=True)
@click.option("--processes", default=4, show_default=True)
@click.option("--kills", default=60, show_default=True)
def main(seed: int, pushes: int, repositories: int, processes: int, kills: int) -> None:
    """Run for long; exit code 1 if anything is wrong."""
    plan = Plan(
        seed=seed, pushes=pushes, repositories=repositories, processes=processes, kills=kills
    )
    report = anyio.run(run, plan)
    click.echo(report.text())
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()
