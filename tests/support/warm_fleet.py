"""Processes with caches of their own on one queue, and what they cost the git server.

The git server counts clones and bytes (`counting_git.py`). Order, number and contents of builds are
judged by the servers, as in `chaos.py`. Processes may be killed meanwhile: every other one comes
back with an empty cache, as a new task does.
"""

import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
import orjson
from anyio import to_thread
from support.chaos import never_redrive
from support.counting_git import CountingGit, GitCounts
from support.service import Service, environment, open_service, read_dead_letters
from support.warm_remotes import WarmRemotes

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import Findings, Pushed, verify

_SILENCE_SECONDS: Final = 120.0
_SECONDS_BETWEEN_KILLS: Final = (1.0, 4.0)


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """One run: number of processes, whether they make and take seeds, SIGKILLs."""

    processes: int
    seeds: bool
    kills: int = 0
    seed_min_bytes: int = 0  # 0: the default

    def __str__(self) -> str:
        killed = f", {self.kills} kills" if self.kills else ""
        return f"{self.processes} processes, seeds {'on' if self.seeds else 'off'}{killed}"


@dataclass(slots=True)
class FleetReport:
    """Figures of a run, and everything that is wrong."""

    plan: FleetPlan
    git: GitCounts = field(default_factory=GitCounts)
    findings: Findings = field(default_factory=Findings)
    seconds: float = 0.0
    kills: int = 0
    emptied: int = 0
    seed_objects: int = 0
    seed_bytes: int = 0
    log: Counter[str] = field(default_factory=Counter)
    ill: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Return everything that must not be there."""
        return [*self.findings.faults, *self.ill]

    def __str__(self) -> str:
        git, found = self.git, self.findings
        return (
            f"{self.plan}: {git.clones} clones, {git.nbytes / 1e6:,.0f} MB, {found.built} of "
            f"{found.pushes} built in {self.seconds:.0f} s, {len(self.wrong)} wrong; "
            f"seeds: {self.seed_objects} objects, {self.seed_bytes / 1e6:,.0f} MB"
        )

    def figures(self) -> dict[str, Any]:
        """Return the figures for a JSON object."""
        return {
            **asdict(self.plan),
            **{f"git_{name}": value for name, value in asdict(self.git).items()},
            "built": self.findings.built,
            "seconds": round(self.seconds),
            "kills": self.kills,
            "emptied": self.emptied,
            "seed_objects": self.seed_objects,
            "seed_bytes": self.seed_bytes,
            "wrong": len(self.wrong),
        }


def git_settings(git: CountingGit, plan: FleetPlan, cache: Path) -> dict[str, Any]:
    """Return the table `[git]` of a process."""
    found: dict[str, Any] = {
        "remote": git.remote,
        "credentials": "none",
        "cache_directory": str(cache),
        "seeds": plan.seeds,
    }
    if plan.seed_min_bytes:
        found["seed_min_bytes"] = plan.seed_min_bytes
    return found


@dataclass
class _Fleet:
    """Processes of the service, each started again when it has ended, until `ending`."""

    stack: Stack
    git: CountingGit
    report: FleetReport
    running: dict[int, Service] = field(default_factory=dict)
    empty: set[int] = field(default_factory=set)  # processes whose cache is emptied at their start
    ending: bool = False

    async def keep(self, number: int) -> None:
        """Run process `number` again and again."""
        while not self.ending:
            if number in self.empty:
                self.empty.remove(number)
                await to_thread.run_sync(
                    partial(shutil.rmtree, self._cache(number), ignore_errors=True)
                )
                self.report.emptied += 1
            async with open_service(self._variables(number)) as service:
                self.running[number] = service
                code = await service.process.wait()
                del self.running[number]
            self._note(code, service)

    async def wait_started(self) -> None:
        """Wait until every process listens to the queue."""
        for number in range(self.report.plan.processes):
            with anyio.fail_after(_SILENCE_SECONDS):
                while number not in self.running:  # noqa: ASYNC110 - a process raises no event
                    await anyio.sleep(0.02)
            await self.running[number].wait_logged("service.started")

    def strike(self, random: Random) -> None:
        """Kill a process; every other one loses its cache."""
        if not self.running:
            return
        number = random.choice(sorted(self.running))
        self.report.kills += 1
        if self.report.kills % 2:
            self.empty.add(number)
        self.running[number].kill()

    def end(self) -> None:
        """Let all processes stop."""
        self.ending = True
        for service in self.running.values():
            service.terminate()

    def _cache(self, number: int) -> Path:
        return self.stack.directory / f"cache-{number}"

    def _note(self, code: int, service: Service) -> None:
        report = self.report
        listening = any(line.get("event") == "service.started" for line in service.log)
        # SIGTERM ends a process whose Python is still starting as it ends any other program.
        if code not in {0, -signal.SIGKILL} and (listening or code != -signal.SIGTERM):
            report.ill.append(f"exit code {code}")
        report.log.update(str(line.get("event")) for line in service.log)
        report.ill += [
            orjson.dumps(line).decode()
            for line in service.log
            if line.get("event") in {"push.bug", "text"}
        ]

    def _variables(self, number: int) -> dict[str, str]:
        plan = self.report.plan
        return environment(
            self.stack,
            consumers=4,
            queue={"visibility_timeout_seconds": 8 if plan.kills else 60, "wait_seconds": 1},
            git=git_settings(self.git, plan, self._cache(number)),
            # A push that many random kills hit is not a poison message.
            lanes={"max_attempts": 10 if plan.kills else 2, "busy_most_seconds": 1},
            status={"listen": "off"},
        )


@asynccontextmanager
async def _open_fleet(stack: Stack, git: CountingGit, report: FleetReport) -> AsyncIterator[_Fleet]:
    fleet = _Fleet(stack, git, report)
    async with anyio.create_task_group() as tasks:
        for number in range(report.plan.processes):
            tasks.start_soon(fleet.keep, number)
        await fleet.wait_started()
        yield fleet
        fleet.end()


async def run_fleet(remotes: WarmRemotes, git: CountingGit, plan: FleetPlan) -> FleetReport:
    """Push everything to a fleet with empty caches; return what it cost, and what is wrong.

    Args:
        remotes: Repositories below the directory that `git` serves.
        git: The git server.
        plan: Number of processes and what is done to them.
    """
    report = FleetReport(plan)
    remotes.reset()
    await to_thread.run_sync(git.reset)
    random = Random(f"{remotes.load.seed}/kills")  # noqa: S311 - repeatable, not secret
    async with open_stack(remotes.load.names) as stack:
        await never_redrive(stack)
        async with _open_fleet(stack, git, report) as fleet:
            begun = time.monotonic()
            async with anyio.create_task_group() as tasks:
                if plan.kills:
                    tasks.start_soon(_strike, fleet, random)
                sent = await _send_all(stack, remotes)
                await _wait_settled(stack)
                report.seconds = time.monotonic() - begun
                tasks.cancel_scope.cancel()
        report.git = await to_thread.run_sync(git.total)
        await _look(stack, report, sent)
    return report


async def _send_all(stack: Stack, remotes: WarmRemotes) -> list[Pushed]:
    """Push at the rate of the load; return the pushes in their order."""
    sent: list[Pushed] = []
    begun, rate = time.monotonic(), remotes.load.pushes_per_second
    for number, push in enumerate(remotes.iter_pushes()):
        await stack.send(push)
        sent.append(push)
        await anyio.sleep(max(0.0, begun + (number + 1) / rate - time.monotonic()))
    return sent


async def _strike(fleet: _Fleet, random: Random) -> None:
    while fleet.report.kills < fleet.report.plan.kills:
        await anyio.sleep(random.uniform(*_SECONDS_BETWEEN_KILLS))
        fleet.strike(random)


async def _wait_settled(stack: Stack) -> None:
    """Wait until the queue is empty, or nothing moves."""
    left, moved = -1, time.monotonic()
    while (now := time.monotonic()) - moved < _SILENCE_SECONDS:
        waiting = await stack.count_waiting()
        if waiting == 0:
            return
        if waiting != left:
            left, moved = waiting, now
        await anyio.sleep(0.1)


async def _look(stack: Stack, report: FleetReport, sent: list[Pushed]) -> None:
    """Read the servers' records into the report."""
    if left := await stack.count_waiting():
        report.ill.append(f"{left} messages are left")
    dead = await read_dead_letters(stack)
    report.ill += [orjson.dumps(each.get("MessageAttributes")).decode() for each in dead]
    started = journal.read(stack.journal)
    report.findings = await verify(sent, started, s3=stack.s3, bucket=BUCKET)
    sizes = await list_sizes(stack, stack.settings.storage.seed_prefix)
    report.seed_objects, report.seed_bytes = len(sizes), sum(sizes.values())


async def list_sizes(stack: Stack, prefix: str) -> Mapping[str, int]:
    """Return keys of objects with a prefix, and their sizes in bytes."""
    pages = stack.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return {each["Key"]: each["Size"] async for page in pages for each in page.get("Contents", [])}
