"""Tasks that are killed while they write or take a seed: the next one has the right archive."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import to_thread
from support import seed_killed
from support.mirrors import archive_of
from support.proxy import open_proxy
from support.seed_killed import SeedKiller
from support.seed_site import SeedSite
from support.wait import PATIENCE_SECONDS


@asynccontextmanager
async def open_killer(
    seeds: SeedSite, method: str, ending: str, *, acted: bool = False
) -> AsyncIterator[tuple[SeedKiller, str]]:
    """Open a proxy that kills at a request; yield it and its endpoint."""
    killer = SeedKiller(seeds.endpoint_url, method, ending, acted)
    async with open_proxy(killer.handle) as (port,):
        yield killer, f"http://127.0.0.1:{port}"


async def kill_at(seeds: SeedSite, commit: str, cache: str, killer: SeedKiller, url: str) -> None:
    """Run a task until the killer has ended it."""
    settings = seeds.settings(cache)
    own = seed_killed.settings_of(settings.git, settings.storage, url, settings.git.cache_directory)
    killer.victim = process = seed_killed.start(own, commit)
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            await killer.killed.wait()
        await to_thread.run_sync(process.join, PATIENCE_SECONDS)
        assert process.exitcode == -9
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("method", "ending", "acted"),
    [
        ("PUT", ".pack", True),
        ("PUT", "manifest.json", False),
        ("PUT", "manifest.json", True),
    ],
)
async def test_a_writer_killed_at_any_request_leaves_a_whole_seed_or_none(
    seeds: SeedSite, method: str, ending: str, *, acted: bool
) -> None:
    """A torn seed would be taken by every new task; packs without a manifest are found again."""
    source = seeds.site.source
    commit = source.commit({"a": os.urandom(300_000)})
    async with open_killer(seeds, method, ending, acted=acted) as (killer, url):
        await kill_at(seeds, commit, "killed", killer, url)
    newer = source.commit({"b": b"newer"})
    whole = ending == "manifest.json" and acted
    async with seeds.open_task("taker") as task:
        assert await archive_of(task.mirrors, newer) == source.archive(newer)
        assert task.sources == ["seed" if whole else "clone"]
        assert task.told("seed.refused") == []
    async with seeds.open_task("killed") as task:  # its mirror is there, and serves on
        assert await archive_of(task.mirrors, newer) == source.archive(newer)
        assert task.sources == []


@pytest.mark.parametrize("ending", [".pack", ".idx"])
async def test_a_taker_killed_at_any_request_leaves_no_part_of_a_mirror(
    seeds: SeedSite, ending: str
) -> None:
    """What it downloaded is deleted, and the next task on the disk begins again."""
    source = seeds.site.source
    commit = source.commit({"a": os.urandom(300_000)})
    async with seeds.open_task("writer") as task:
        await archive_of(task.mirrors, commit)
        await task.wait_told("seed.written")
    async with open_killer(seeds, "GET", ending) as (killer, url):
        await kill_at(seeds, commit, "killed", killer, url)
    async with seeds.open_task("killed") as task:
        assert not task.place.is_whole()
        assert await archive_of(task.mirrors, commit) == source.archive(commit)
        assert task.sources == ["seed"]
        left = {path.name for path in task.place.root.iterdir()}
    assert left == {"repository.git", "fetch.lock", "use.lock", "stamp"}
