"""Cost of the status page and of scraped metrics: the same pushes with both, and without.

    .venv/bin/python bench/status.py [--rounds 8] [--pushes 16]

Each round is `asyncbuild drain` over the same pushes, with mirrors, ledger and archives of its
own; rounds alternate (off on on off …). Told are wall seconds and CPU seconds of the process and
its children, as medians and as the median of the ratios of neighbouring rounds.
"""

import argparse
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import median

import aiohttp
import anyio

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.service import Service, environment, make_pushes, open_service

from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.local.verify import Pushed

_REPOSITORIES = 8
_SCRAPE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Round:
    """Figures of one round, and the bytes of the page that were read."""

    wall_seconds: float
    cpu_seconds: float
    read_bytes: int


async def main(rounds: int, pushes: int) -> None:
    """Run the rounds, and print their figures."""
    names = [f"repository-{number:03d}" for number in range(_REPOSITORIES)]
    async with open_stack(names) as stack:
        lanes = await make_pushes(stack, repositories=_REPOSITORIES, pushes=pushes)
        work = list(chain.from_iterable(zip(*lanes, strict=True)))
        await play(stack, work, watched=True)  # fills all caches
        taken: dict[bool, list[Round]] = {False: [], True: []}
        for number in range(rounds):
            for watched in (False, True) if number % 2 == 0 else (True, False):
                taken[watched].append(await play(stack, work, watched=watched))
        tell(taken, len(work))


async def play(stack: Stack, work: Sequence[Pushed], *, watched: bool) -> Round:
    """Play one round, and return its figures."""
    unique = uuid.uuid4().hex
    for push in work:
        await stack.send(replace(push, id=str(uuid.uuid4())))
    cache = {"cache_directory": str(stack.directory / f"cache-{unique}")}
    stores = {"key": f"{unique}/{{commit}}.zip", "ledger_prefix": f"{unique}/ledger/"}
    listen = {"listen": "127.0.0.1:0" if watched else "off"}
    variables = environment(stack, git=cache, storage=stores, status=listen)
    before, begun = os.times(), time.monotonic()
    async with open_service(variables, "drain") as service, watching(service, watched) as read:
        code = await service.wait(300)
        wall = time.monotonic() - begun
    after = os.times()
    if code != 0:
        raise SystemExit(f"drain ended with {code}: {service.log[-3:]}")
    built = sum(line.get("event") == "push.built" for line in service.log)
    if built != len(work):
        raise SystemExit(f"{built} of {len(work)} pushes were built")
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return Round(wall, cpu, sum(read))


@asynccontextmanager
async def watching(service: Service, watched: bool) -> AsyncIterator[list[int]]:  # noqa: FBT001 - as the round has it
    """Read the page's events and scrape the metrics until the service ends."""
    read = [0]
    async with anyio.create_task_group() as tasks:
        if watched:
            tasks.start_soon(_watch, service, read)
        yield read
        tasks.cancel_scope.cancel()


async def _watch(service: Service, read: list[int]) -> None:
    address = (await service.wait_logged("status.listening"))["address"]
    async with aiohttp.ClientSession() as session, anyio.create_task_group() as tasks:

        async def scrape() -> None:
            while True:
                with suppress(aiohttp.ClientError):
                    async with session.get(f"{address}metrics") as answer:
                        await answer.read()
                await anyio.sleep(_SCRAPE_SECONDS)

        tasks.start_soon(scrape)
        with suppress(aiohttp.ClientError):
            async with session.get(f"{address}events") as answer:
                async for line in answer.content:
                    read[0] += len(line)
        tasks.cancel_scope.cancel()


def tell(taken: dict[bool, list[Round]], pushes: int) -> None:
    """Print medians and ratios."""
    for watched, name in ((False, "off"), (True, "on")):
        wall = [each.wall_seconds for each in taken[watched]]
        cpu = [each.cpu_seconds for each in taken[watched]]
        print(
            f"{name:4} wall {median(wall):6.2f} s ({min(wall):.2f} to {max(wall):.2f})   "
            f"cpu {median(cpu):6.2f} s ({min(cpu):.2f} to {max(cpu):.2f})   "
            f"{pushes / median(wall):.1f} pushes/s"
        )
    pairs = list(zip(taken[False], taken[True], strict=True))
    wall = median(on.wall_seconds / off.wall_seconds for off, on in pairs)
    cpu = median(on.cpu_seconds / off.cpu_seconds for off, on in pairs)
    read = median(on.read_bytes for _, on in pairs)
    print(f"on/off: wall {wall:.4f}, cpu {cpu:.4f}; {read / 1000:.0f} kB of events read in a round")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--pushes", type=int, default=16, help="of each of eight repositories")
    arguments = parser.parse_args()
    anyio.run(main, arguments.rounds, arguments.pushes)
