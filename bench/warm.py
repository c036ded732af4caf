"""Clones and bytes of a fleet at the git server, and cold pushes: with seeds and without.

    make bench-warm [PUSHES=1000] [KILLS=0]
    PYTHONPATH=tests .venv/bin/python bench/warm.py [--pushes 1000] [--kills 0] [--files 100000]

Four processes with caches of their own work on one queue, and one does; a git server counts what
each of them clones (fetches without any commit) and how much it sends. Then a monorepo is pushed to
a service with an empty cache, which takes the seed or clones, in turns; the git server is behind a
link of 40 MB/s, S3 behind one of 100 MB/s. The last line is one JSON object:

    clones_ratio      clones of four processes with seeds, to those of one process
    bytes_ratio       bytes that the git server sent, likewise
    cold_seed_ratio   time of a cold push from a seed, to that by clone; until StartBuild
    cold_fetch_ratio  the same until its commit is there
    ..._without_seeds the same with seeds turned off
    cpu_seconds       processor time of a cold push, apart for the service and each server

How much seeds save depends on how soon a repository is pushed to again: while a seed is being
written, another task clones. Exit code 1 if a push is missing, built twice, out of order or wrong.
It needs 8 GB of disk while it runs, and as much memory as the seeds take, since the server that
stands in for S3 keeps them there.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import monorepo
import orjson
from anyio import to_thread
from engine import about_the_machine
from support.cold_push import ColdPlan, ColdPush, iter_cold, summary
from support.counting_git import open_counting_git
from support.warm_fleet import FleetPlan, FleetReport, run_fleet
from support.warm_remotes import MB, Load, WarmRemote, WarmRemotes

from asyncbuild.local.expected_tree import run_git
from asyncbuild.local.workload import PushedRepository

_ROOM_BYTES = 10_000 * MB
_CHANGED_FILES = 3


def _say(what: object) -> None:
    print(f"{time.strftime('%H:%M:%S')} load {os.getloadavg()[0]:.1f}: {what}", flush=True)


async def measure_fleets(directory: Path, load: Load, options: Any) -> Sequence[FleetReport]:  # noqa: ANN401 - of argparse
    """Let each fleet work on the same pushes; return their reports."""
    four, kills = options.processes, options.kills
    plans = [FleetPlan(1, seeds=False), FleetPlan(four, seeds=False)]
    plans += [FleetPlan(four, seeds=True)]
    plans += [FleetPlan(four, seeds=True, kills=kills)] if kills else []
    reports = []
    remotes = await WarmRemotes.create(directory, load)
    _say(f"{load.repositories} repositories are made")
    with open_counting_git(directory) as git:
        for plan in plans:
            reports.append(await run_fleet(remotes, git, plan))
            _say(reports[-1])
            for fault in reports[-1].wrong[:10]:
                print(f"WRONG: {fault}")
    return reports


def fleet_figures(reports: Sequence[FleetReport]) -> dict[str, Any]:
    """Return the ratios to the fleet of one process, which is the first."""
    one = reports[0].git
    found: dict[str, Any] = {}
    for each in reports[1:]:
        suffix = "" if each.plan.seeds else "_without_seeds"
        suffix += "_with_kills" if each.plan.kills else ""
        found[f"clones_ratio{suffix}"] = round(each.git.clones / one.clones, 2)
        found[f"bytes_ratio{suffix}"] = round(each.git.nbytes / one.nbytes, 2)
    return found | {"fleets": [each.figures() for each in reports]}


async def make_monorepo(directory: Path, files: int, pushes: int) -> WarmRemote:
    """Make the generated monorepo, with a commit of three changed files for each push."""
    sizes = (_CHANGED_FILES,) * (pushes - 1)
    await to_thread.run_sync(
        lambda: monorepo.make(directory, files=files, commits=pushes - 1, seed=1, sizes=sizes)
    )
    listed = await run_git("rev-list", "--reverse", "main", directory=directory)
    commits = [("main", commit) for commit in listed.decode().split()]
    return WarmRemote(PushedRepository(directory.name, directory), commits)


async def measure_cold(directory: Path, options: Any) -> dict[str, Any]:  # noqa: ANN401 - of argparse
    """Push the monorepo to empty caches; return medians and ratios."""
    plan = ColdPlan(rounds=options.rounds, seed_min_bytes=1)  # of a small monorepo, too
    remote = await make_monorepo(directory / "monorepo", options.files, 2 * plan.rounds + 1)
    pushes: list[ColdPush] = []
    async for push in iter_cold(remote, plan):
        _say(push)
        pushes.append(push)
    found = summary(pushes[1:])
    return {
        "cold_seed_ratio": found.pop("seconds_ratio"),
        "cold_fetch_ratio": found.pop("fetch_seconds_ratio"),
        "cold": found,
    }


async def main(options: Any) -> int:  # noqa: ANN401 - of argparse
    """Measure both; print the JSON object."""
    load = Load(
        repositories=options.repositories,
        large=options.repositories // 3,
        pushes=options.pushes,
        pushes_per_second=options.rate,
    )
    found: dict[str, Any] = {}
    reports: Sequence[FleetReport] = ()
    with tempfile.TemporaryDirectory(prefix="asyncbuild-warm-") as path:
        directory = Path(path)
        if shutil.disk_usage(directory).free < _ROOM_BYTES:
            raise SystemExit(f"{directory} has less than {_ROOM_BYTES // 10**9} GB left")
        if options.only != "cold":
            (directory / "fleet").mkdir()
            reports = await measure_fleets(directory / "fleet", load, options)
            found |= fleet_figures(reports)
        if options.only != "fleet":
            found |= await measure_cold(directory, options)
    found["machine"] = about_the_machine()
    found["load_average"] = [round(each, 1) for each in os.getloadavg()]
    print(orjson.dumps(found).decode())
    return 1 if any(each.wrong for each in reports) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repositories", type=int, default=60)
    parser.add_argument("--pushes", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=2.0, help="pushes a second")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--kills", type=int, default=0, help="of one more run")
    parser.add_argument("--files", type=int, default=100_000, help="of the monorepo")
    parser.add_argument("--rounds", type=int, default=5, help="of cold pushes")
    parser.add_argument("--only", choices=["fleet", "cold"], help="leave the other out")
    sys.exit(anyio.run(main, parser.parse_args()))
