"""Counts of the git server that clones are measured with, and the rate of the link before it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.counting_git import CountingGit, GitCounts, open_counting_git
from support.link import BURST_BYTES, open_link
from support.repositories import SourceRepository

from asyncbuild.local.expected_tree import run_git

NOISE_BYTES = 2_000_000
RATE = 20e6


@pytest.fixture
def source(tmp_path: Path) -> SourceRepository:
    """A repository of noise, with one commit."""
    source = SourceRepository(tmp_path / "served" / "noise")
    noise = (b"%08d" % number * 5 for number in range(NOISE_BYTES // 40))
    source.commit({"noise": b"".join(noise), "a": b"1"})
    return source


@pytest.fixture
def server(source: SourceRepository) -> Iterator[CountingGit]:
    """A server of that repository."""
    with open_counting_git(source.path.parent) as server:
        yield server


@pytest.mark.parametrize("version", [0, 2])
@pytest.mark.parametrize("extent", [["--depth=1"], []])
async def test_clone_and_fetch_are_told_apart(
    server: CountingGit, source: SourceRepository, tmp_path: Path, version: int, extent: list[str]
) -> None:
    """A clone without commits counts once, a fetch into it never, with any protocol."""
    protocol, there = ("-c", f"protocol.version={version}"), str(tmp_path / "clone")
    await run_git(*protocol, "clone", "--bare", *extent, f"{server.url}/noise", there)
    assert server.counts()["noise"].clones == 1
    assert server.total().fetches == 0
    server.reset()
    source.commit({"a": b"2"}, parent=source.tip("main"))
    fetch = ("fetch", *extent, f"{server.url}/noise", "main")
    await run_git(*protocol, *fetch, directory=tmp_path / "clone")
    assert server.total().clones == 0
    assert server.total().fetches >= 1
    assert server.total().nbytes < 10_000


async def test_bytes_are_those_of_the_answers(
    server: CountingGit, source: SourceRepository, tmp_path: Path
) -> None:
    """Bytes of a clone are its pack, and a little more."""
    await run_git("clone", "--bare", f"{server.url}/noise", str(tmp_path / "clone"))
    packs = (tmp_path / "clone" / "objects" / "pack").glob("*.pack")
    pack_bytes = sum(path.stat().st_size for path in packs)
    assert pack_bytes <= server.total().nbytes <= pack_bytes * 1.01 + 5_000
    server.reset()
    assert server.counts() == {}
    assert server.total() == GitCounts()


async def test_link_is_no_faster_than_its_rate(
    server: CountingGit, source: SourceRepository, tmp_path: Path
) -> None:
    """A clone through the link is whole, and takes the time that its bytes take at least."""
    await run_git("-C", str(source.path), "config", "pack.compression", "0")
    with open_link(server.url, RATE) as link:
        begun = time.monotonic()
        await run_git("clone", "--bare", f"{link.url}/noise", str(tmp_path / "clone"))
        seconds = time.monotonic() - begun
    await run_git("fsck", directory=tmp_path / "clone")
    assert seconds >= (server.total().nbytes - 3 * BURST_BYTES) / RATE
