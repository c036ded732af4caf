"""Clones of a fleet, the short run; `make bench-warm` is the long one."""

from pathlib import Path

import pytest
from support.cold_push import ColdPlan, iter_cold, summary
from support.counting_git import open_counting_git
from support.warm_fleet import FleetPlan, run_fleet
from support.warm_remotes import MB, Load, WarmRemotes

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


async def test_builds_are_right_and_clones_counted(tmp_path: Path) -> None:
    """Builds are right and in order under a kill, and no cache clones a repository twice."""
    load = Load(
        repositories=3, large=1, large_bytes=3 * MB, small_bytes=MB, pushes=24, pushes_per_second=12
    )
    remotes = await WarmRemotes.create(tmp_path, load)
    with open_counting_git(tmp_path) as git:
        report = await run_fleet(remotes, git, FleetPlan(2, seeds=True, kills=1, seed_min_bytes=1))
    assert report.wrong == []
    assert report.findings.built == 24
    assert 3 <= report.git.clones <= 2 * 3 + 3  # two caches, of which one was emptied
    assert report.git.nbytes > 5 * MB


async def test_cold_pushes_are_measured(tmp_path: Path) -> None:
    """A push to an empty cache clones, or takes the seed and a little; all processors are known."""
    load = Load(repositories=1, large=1, large_bytes=2 * MB, pushes=3)
    remotes = await WarmRemotes.create(tmp_path, load)
    plan = ColdPlan(rounds=1, seed_min_bytes=1)
    seeding, *pushes = [each async for each in iter_cold(remotes.remotes[0], plan)]
    by_way = {each.way: each for each in pushes}
    assert (seeding.clones, by_way["clone"].clones, by_way["seed"].clones) == (1, 1, 0)
    assert by_way["seed"].git_bytes < MB < by_way["clone"].git_bytes
    figures = summary(pushes)
    assert figures["seconds_ratio"] > 0
    assert 0 < figures["seed"]["fetch_seconds"] <= figures["seed"]["seconds"]
    parts = {"service", "git server", "S3 server", "git link", "S3 link"}
    assert figures["clone"]["cpu_seconds"].keys() == parts
