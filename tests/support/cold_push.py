"""Pushes on empty caches, taken from a seed and cloned in turns, behind slow links.

The git server and S3 are each behind a link of their own. Processor time is told apart: of the
service, of each server, and of the links, which all share this machine.
"""

import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

import anyio
from anyio import to_thread
from support.counting_git import CountingGit, open_counting_git
from support.link import open_link
from support.processes import family
from support.service import Service, environment, open_service
from support.tree_cpu import Cpu
from support.warm_fleet import FleetPlan, git_settings, list_sizes
from support.warm_remotes import WarmRemote

from asyncbuild.builds.requests.start_build import EVENT_ID
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.local.verify import Pushed

_SEEDED_SECONDS: Final = 300
_PUSH_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class ColdPlan:
    """Rates of the links in bytes a second, and the number of rounds."""

    git_bytes_per_second: float = 40e6
    s3_bytes_per_second: float = 100e6
    rounds: int = 5
    seed_min_bytes: int = 0  # 0: the default


@dataclass(frozen=True, slots=True)
class ColdPush:
    """Figures of one push: seconds in all and of the fetch, processor seconds of each part."""

    way: str
    seconds: float
    fetch_seconds: float
    cpu: Mapping[str, float]
    clones: int
    git_bytes: int

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.cpu.items())
        return (
            f"{self.way}: {self.seconds:.2f} s, of it {self.fetch_seconds:.2f} until the commit is "
            f"there; {self.git_bytes / 1e6:.1f} MB from git; cpu s: {parts}"
        )


@dataclass(frozen=True, slots=True)
class _ColdWorld:
    """Servers of the measurement, and the process ids of what takes processor time."""

    plan: ColdPlan
    stack: Stack
    git: CountingGit
    remote: WarmRemote
    s3_url: str
    pids: Mapping[str, int]

    async def push(self, way: str) -> ColdPush:
        """Push once to a service with an empty cache."""
        cache = self.stack.directory / "cache"
        await to_thread.run_sync(self.git.reset)
        async with open_service(self._variables(way)) as service:
            await service.wait_logged("service.started")
            before, begun = self._cpu(service), time.monotonic()
            push = self.remote.push()
            await self.stack.send(push)
            await self._wait_built(push)
            seconds = time.monotonic() - begun
            cpu = {name: used - before[name] for name, used in self._cpu(service).items()}
            fetched = await service.wait_logged("push.fetch.finished")
            if way == "seeding":
                await self._wait_seeded()
            service.terminate()
            await service.wait()
        await to_thread.run_sync(shutil.rmtree, cache)
        counts = await to_thread.run_sync(self.git.total)
        return ColdPush(
            way, seconds, fetched["duration_seconds"], cpu, counts.clones, counts.nbytes
        )

    async def _wait_built(self, push: Pushed) -> None:
        standin = self.stack.standin
        with anyio.fail_after(_PUSH_SECONDS):
            await standin.wait_started(lambda each: each.variables.get(EVENT_ID) == push.id)

    async def _wait_seeded(self) -> None:
        prefix = self.stack.settings.storage.seed_prefix
        with anyio.fail_after(_SEEDED_SECONDS):
            while not any(  # noqa: ASYNC110 - a bucket raises no event
                key.endswith("manifest.json") for key in await list_sizes(self.stack, prefix)
            ):
                await anyio.sleep(0.1)

    def _cpu(self, service: Service) -> dict[str, float]:
        pids = {"service": service.process.pid, **self.pids}
        return {name: Cpu.of_tree(pid).total for name, pid in pids.items()}

    def _variables(self, way: str) -> dict[str, str]:
        plan = FleetPlan(1, way in {"seeding", "seed"}, seed_min_bytes=self.plan.seed_min_bytes)
        return environment(
            self.stack,
            git=git_settings(self.git, plan, self.stack.directory / "cache"),
            storage={"endpoint_url": self.s3_url},
            status={"listen": "off"},
        )


async def iter_cold(remote: WarmRemote, plan: ColdPlan) -> AsyncIterator[ColdPush]:
    """Push to a service with an empty cache, again and again; yield the figures of each push.

    The first push, `seeding`, makes the seed and an archive that later ones are made of.

    Args:
        remote: A repository with a commit for each push.
        plan: Rates and number of rounds.
    """
    remote.reset()
    async with open_stack([remote.repository.name]) as stack:
        with ExitStack() as exits:
            world = _open_world(exits, stack, remote, plan)
            yield await world.push("seeding")
            for number in range(plan.rounds):
                for way in ("seed", "clone") if number % 2 else ("clone", "seed"):
                    yield await world.push(way)


def _open_world(exits: ExitStack, stack: Stack, remote: WarmRemote, plan: ColdPlan) -> _ColdWorld:
    s3_url = str(stack.settings.aws.endpoint_url)
    git = exits.enter_context(open_counting_git(remote.repository.directory.parent))
    git_link = exits.enter_context(open_link(git.url, plan.git_bytes_per_second))
    s3_link = exits.enter_context(open_link(s3_url, plan.s3_bytes_per_second))
    pids = {
        "git server": git.pid,
        "S3 server": _ministack_pid(),
        "git link": git_link.pid,
        "S3 link": s3_link.pid,
    }
    linked = replace(git, url=git_link.url)
    return _ColdWorld(plan, stack, linked, remote, s3_link.url, pids)


def _ministack_pid() -> int:
    found = [each.pid for each, command in family(os.getpid()).items() if "ministack" in command]
    return min(found)


def summary(pushes: Sequence[ColdPush]) -> dict[str, Any]:
    """Return medians for each way, and the ratios of seed to clone."""
    found: dict[str, Any] = {}
    for way in sorted({each.way for each in pushes}):
        its = [each for each in pushes if each.way == way]
        found[way] = {
            "seconds": round(median(each.seconds for each in its), 2),
            "fetch_seconds": round(median(each.fetch_seconds for each in its), 2),
            "git_bytes": round(median(each.git_bytes for each in its)),
            "cpu_seconds": {
                name: round(median(each.cpu[name] for each in its), 2) for name in its[0].cpu
            },
        }
    for name in ("seconds", "fetch_seconds"):
        found[f"{name}_ratio"] = round(found["seed"][name] / found["clone"][name], 3)
    return found
