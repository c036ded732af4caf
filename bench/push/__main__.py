"""The cost of a push: processor time, wall time, git processes and requests, beside work by hand.

    make bench-push [PUSHES=500]
    PYTHONPATH=tests .venv/bin/python bench/push [--pushes 500] [--rounds 5] [--only-cpu]

One push to each of ten repositories is a wave; both ways work on the same waves, in turns, with
mirrors that have all but the new commits. The service is a process of its own, and so are the steps
by hand (`by_hand.py`). Processor time is that of the process and all that it starts. Then, with
another process for each: requests and wall time behind a proxy that adds 15 ms to each request, and
the git processes through a program that times them. The last line is one JSON object.
"""

import argparse
import shutil
import stat
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import orjson
from meter import Meter, Request, counts, open_meter
from support.tree_cpu import Cpu
from world import NAMES, PushWay, PushWays, Repositories

from asyncbuild.local.stack import open_stack

_REPOSITORIES = 10
_WARM_WAVES = 3
_DELAY_SECONDS = 0.015
_ALONE = 20  # pushes of one repository, one after the other
_IN_A_LANE = 20  # pushes of one repository at once
_TIMED_WAVES = 3
_SERVICES = ("s3", "sqs", "codebuild")
_WITH_VALUE = {"-c", "--git-dir", "-C"}  # options of git before its command


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line."""

    pushes: int
    rounds: int
    files: int
    calls: int
    only_cpu: bool


@dataclass(slots=True)
class RoundSums:
    """Sums of one round for one way."""

    cpu: Cpu = field(default_factory=Cpu)
    seconds: float = 0.0
    pushes: int = 0

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of processor time a push."""
        return 1000 * self.cpu.total / self.pushes

    @property
    def own_ms(self) -> float:
        """Milliseconds a push of the process itself, without git and compression workers."""
        return 1000 * self.cpu.own / self.pushes

    @property
    def wall_ms(self) -> float:
        """Milliseconds a push until all of a wave are settled."""
        return 1000 * self.seconds / self.pushes


async def main(options: Options) -> None:
    """Measure everything; print tables, and the JSON object."""
    names = [f"repository-{number:03d}" for number in range(_REPOSITORIES)]
    async with open_stack(names) as stack:
        repositories = await Repositories.create(stack.directory, names, files=options.files)
        ways = await PushWays.create(stack)
        found = await measure_cpu(ways, repositories, options)
        if not options.only_cpu:
            calls = await measure_calls(ways, options.calls)
            found |= await measure_git(ways, repositories)
            found |= await measure_requests(ways, repositories, calls)
    print(orjson.dumps(found).decode())


# --- processor time -------------------------------------------------------------------------------


async def measure_cpu(
    ways: PushWays, repositories: Repositories, options: Options
) -> dict[str, Any]:
    """Let both ways work on the same waves in turns; print each round."""
    count = max(1, min(options.rounds, options.pushes // _REPOSITORIES))  # each of a wave at least
    waves = max(1, options.pushes // (count * _REPOSITORIES))
    rounds: dict[str, list[RoundSums]] = {name: [] for name in NAMES}
    async with AsyncExitStack() as stack:
        both = [await stack.enter_async_context(ways.open(name)) for name in NAMES]
        for _ in range(_WARM_WAVES):
            await _work(both, await repositories.wave())
        for number in range(count):
            for name in NAMES:
                rounds[name].append(RoundSums())
            for wave in range(waves):
                taken = both if (number + wave) % 2 else both[::-1]
                pushes = await repositories.wave()
                for name, (cpu, seconds) in (await _work(taken, pushes)).items():
                    its = rounds[name][-1]
                    its.cpu, its.seconds = its.cpu + cpu, its.seconds + seconds
                    its.pushes += len(pushes)
            service, by_hand = (rounds[name][-1] for name in NAMES)
            print(
                f"round {number + 1}: {service.pushes} pushes each; cpu {service.cpu_ms:.1f} ms "
                f"a push ({service.own_ms:.1f} its own), by hand {by_hand.cpu_ms:.1f} "
                f"({by_hand.own_ms:.1f}); ratio {service.cpu_ms / by_hand.cpu_ms:.2f}; "
                f"wall {service.wall_ms:.1f} ms, by hand {by_hand.wall_ms:.1f}",
                flush=True,
            )
    pairs = list(zip(rounds["service"], rounds["by hand"], strict=True))
    found: dict[str, Any] = {
        "cpu_ratio": round(median(a.cpu_ms / b.cpu_ms for a, b in pairs), 3),
        "wall_ratio": round(median(a.wall_ms / b.wall_ms for a, b in pairs), 3),
    }
    for name, its in rounds.items():
        suffix = "" if name == "service" else "_by_hand"
        for figure in ("cpu_ms", "own_ms", "wall_ms"):
            found[figure + suffix] = round(median(getattr(each, figure) for each in its), 2)
    return found


async def _work(both: Sequence[PushWay], pushes: Sequence[Any]) -> dict[str, tuple[Cpu, float]]:
    return {way.name: await way.work(pushes) for way in both}


async def measure_calls(ways: PushWays, times: int) -> Mapping[str, float]:
    """Return and print the processor time of the clients for one request of each kind."""
    script = Path(__file__).with_name("clients.py")
    done = await anyio.run_process(  # the stand-in for CodeBuild answers in this process
        [sys.executable, str(script), str(times)], env=ways.environment("by hand"), stderr=None
    )
    found: dict[str, float] = orjson.loads(done.stdout)
    print("\n| request, by the clients alone | cpu ms |\n| --- | ---: |")
    for name, milliseconds in found.items():
        print(f"| {name} | {milliseconds:.2f} |")
    return found


# --- git ------------------------------------------------------------------------------------------


async def measure_git(ways: PushWays, repositories: Repositories) -> dict[str, Any]:
    """Count and time the git processes that each way starts; print them by command."""
    programs = ways.stack.directory / "programs"
    programs.mkdir()
    log = programs / "log"
    timer = Path(__file__).with_name("timed_git.py")
    git = programs / "git"
    git.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -ISE "{timer}" "{shutil.which("git")}" "{log}" "$@"\n'
    )
    git.chmod(git.stat().st_mode | stat.S_IXUSR)
    started: dict[str, float] = {}
    print("\n| git | started by | a push | cpu ms each |\n| --- | --- | ---: | ---: |")
    for name in NAMES:
        async with ways.open(name, path=programs) as way:
            await way.work(await repositories.wave())
            log.write_bytes(b"")
            pushes = 0
            for _ in range(_TIMED_WAVES):
                wave = await repositories.wave()
                pushes += len(wave)
                await way.work(wave)
        by_command: defaultdict[str, list[float]] = defaultdict(list)
        for line in map(orjson.loads, log.read_bytes().splitlines()):
            by_command[_command(line["arguments"])].append(line["cpu_ms"])
        for command, costs in sorted(by_command.items()):
            each = sum(costs) / len(costs)
            print(f"| {command} | {name} | {len(costs) / pushes:.2f} | {each:.2f} |")
        started[name] = sum(map(len, by_command.values())) / pushes
    return {"git_processes": round(started["service"], 2)}


def _command(arguments: Sequence[str]) -> str:
    left = iter(arguments)
    for each in left:
        if each in _WITH_VALUE:
            next(left, "")
        elif not each.startswith("-"):
            return each
    return "git"


# --- requests -------------------------------------------------------------------------------------


async def measure_requests(
    ways: PushWays, repositories: Repositories, calls: Mapping[str, float]
) -> dict[str, Any]:
    """Count requests and measure the time of pushes behind the proxy."""
    settings = ways.stack.settings
    servers = {
        "sqs": str(settings.aws.endpoint_url),
        "s3": str(settings.aws.endpoint_url),
        "codebuild": str(settings.builds.endpoint_url),
    }
    found: dict[str, Any] = {}
    async with open_meter(servers, _DELAY_SECONDS) as meter:
        for name in NAMES:
            async with ways.open(name, endpoint_url=meter.endpoint_url) as way:
                told = await _measure_one(way, repositories, meter, calls)
            suffix = "" if name == "service" else "_by_hand"
            found |= {f"{figure}{suffix}": value for figure, value in told.items()}
    return found


async def _measure_one(
    way: PushWay, repositories: Repositories, meter: Meter, calls: Mapping[str, float]
) -> dict[str, Any]:
    for _ in range(2):
        await way.work(await repositories.wave())
    meter.take()
    waves = [await way.work(await repositories.wave()) for _ in range(_TIMED_WAVES)]
    requests, pushes = meter.take(), _TIMED_WAVES * _REPOSITORIES
    alone, before_start = [], []
    for _ in range(_ALONE):
        push = await repositories.wave(1)
        logged = len(way.service.log)
        alone.append((await way.work(push))[1])
        before_start.append(_before_start(way, meter.take(), logged))
    lane = [(await repositories.wave(1))[0] for _ in range(_IN_A_LANE)]
    _, in_a_lane = await way.work(lane)
    meter.take()
    tables = _tell_requests(way, requests, pushes, calls)
    figures = {
        "many_lanes_wall_ms": 1000 * median(seconds for _, seconds in waves) / _REPOSITORIES,
        "alone_wall_ms": 1000 * median(alone),
        "one_lane_wall_ms": 1000 * in_a_lane / _IN_A_LANE,
    }
    print(
        f"\n{way.name}, with {1000 * meter.delay_seconds:.0f} ms more for each request: "
        f"{figures['many_lanes_wall_ms']:.0f} ms a push of {_REPOSITORIES} repositories at once, "
        f"{figures['one_lane_wall_ms']:.0f} ms a push of {_IN_A_LANE} of one repository at once, "
        f"{figures['alone_wall_ms']:.0f} ms for one push alone"
    )
    figures = {name: round(value, 1) for name, value in figures.items()}
    if way.name == "service":
        print(f"from the turn of a push to its StartBuild: {median(before_start)} requests")
        return {**tables, **figures, "requests_before_start": median(before_start)}
    return {**tables, **figures}


def _before_start(way: PushWay, requests: Sequence[Request], logged: int) -> int:
    """Return the number of requests of a lone push between the end of preparing and its start.

    Args:
        way: The service.
        requests: Requests of the push.
        logged: Number of log lines before it.
    """
    lines = (line for line in way.service.log[logged:] if line["event"] == "push.prepare.finished")
    line = next(lines, None)
    if line is None:  # by hand nothing is logged
        return 0
    turn = datetime.fromisoformat(line["timestamp"]).timestamp()
    start = next(each.begun for each in requests if each.kind == "StartBuild")
    return sum(turn <= each.begun < start for each in requests if each.service != "sqs")


def _tell_requests(
    way: PushWay, requests: list[Request], pushes: int, calls: Mapping[str, float]
) -> dict[str, Any]:
    """Print the requests a push, and what the clients alone cost for them."""
    by_service = Counter(each.service for each in requests if not each.kind.endswith("empty"))
    found = counts(requests, way.stack.settings.storage.ledger_prefix)
    print(f"\n| {way.name}: request | about | a push |\n| --- | --- | ---: |")
    for (kind, purpose), count in sorted(found.items()):
        print(f"| {kind} | {purpose} | {count / pushes:.2f} |")
    clients_ms = sum(
        count
        * calls.get(
            f"{kind}, {'archive' if purpose == 'archive' else 'record'}", calls.get(kind, 0.0)
        )
        for (kind, purpose), count in found.items()
    )
    print(f"the clients alone cost {clients_ms / pushes:.1f} ms of processor time a push for them")
    return {
        **{f"{name}_requests": round(by_service[name] / pushes, 2) for name in _SERVICES},
        "clients_ms": round(clients_ms / pushes, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/push", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pushes", type=int, default=500, help="of each way, in all rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=40, help="in each repository")
    parser.add_argument(
        "--calls", type=int, default=200, help="requests of each kind that are timed"
    )
    parser.add_argument("--only-cpu", action="store_true", help="skip all but the processor time")
    anyio.run(main, Options(**vars(parser.parse_args())))
