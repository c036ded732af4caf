"""Maintenance after hundreds of fetches: mirrors stay small, and readers are not disturbed."""

import contextlib
import os
from pathlib import Path

import pytest
from support.mirrors import MAIN, Site, archive_of, is_quiet, read_archive, repository
from support.processes import family
from support.wait import wait_until

from asyncbuild.git.mirrors import maintenance as upkeep


def packs(mirror: Path) -> int:
    """Return how many packs a mirror has."""
    return len(list(mirror.glob("objects/pack/*.pack")))


def kept_open() -> list[str]:
    """Return the deleted packs that gits of this process keep, with their space."""
    lines: list[str] = []
    for process in family(os.getpid()):
        with contextlib.suppress(OSError):  # it ended
            lines += Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    return [line for line in lines if ".pack" in line and line.endswith("(deleted)")]


async def test_no_git_keeps_the_files_of_a_mirror_that_is_gone(site: Site) -> None:
    """Their space would not be free, and the budget of the disk does not count it."""
    commit = site.source.commit({"a": b"first"})
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, commit)
        await wait_until(lambda: mirrors.statistics().processes["reader"] == 1)
        await mirrors._upkeep.make_room()
        assert not site.mirror.exists()
        assert mirrors.statistics().processes["reader"] == 0
        for number in range(36):
            commit = site.source.commit({"a": b"%d" % number})
            await archive_of(mirrors, commit)
            await wait_until(lambda: is_quiet(mirrors))
            assert not kept_open()
        assert packs(site.mirror) < 10  # they were joined


async def test_packs_refs_and_boundaries_stay_few(site: Site) -> None:
    """Forty fetches at depth 1: packs are joined, boundaries trimmed, archives right."""
    commits = []
    most = 0
    async with site.open_mirrors() as mirrors:
        first = site.source.commit({"a": b"first"})
        async with mirrors.open(repository(), ref=MAIN, commit=first) as snapshot:
            for number in range(40):
                commits.append(site.source.commit({"a": b"%d" % number, f"f{number}": b"x"}))
                await archive_of(mirrors, commits[-1])
                most = max(most, packs(site.mirror))
            assert await read_archive(snapshot) == site.source.archive(first)
            assert await snapshot.is_ancestor(first, commits[-1]) is True
        for commit in commits[::10]:
            assert await archive_of(mirrors, commit) == site.source.archive(commit)
    assert most <= 34
    assert len((site.mirror / "shallow").read_text().split()) <= 34
    site.source.git("--git-dir", str(site.mirror), "fsck")


async def test_unused_objects_are_deleted_when_no_reader_is_open(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overwritten histories make a mirror grow; they are deleted, but never under a reader."""
    monkeypatch.setattr(upkeep, "_WASTE_BYTES", 1_000_000)
    sizes = []
    async with site.open_mirrors() as mirrors:
        old = site.source.commit({"a": os.urandom(500_000)})
        async with mirrors.open(repository(), ref=MAIN, commit=old) as snapshot:
            for _ in range(6):
                commit = site.source.commit({"a": os.urandom(500_000)}, parent=None)
                await archive_of(mirrors, commit)
            sizes.append(_size(site.mirror))
            assert len(await read_archive(snapshot)) > 500_000
        commit = site.source.commit({"a": os.urandom(500_000)}, parent=None)
        await archive_of(mirrors, commit)
        # One of the fetches before may have deleted unused objects before the last one added some.
        await wait_until(lambda: _size(site.mirror) < 1_500_000)
        assert await archive_of(mirrors, commit) == site.source.archive(commit)
    assert sizes[0] > 3_000_000


def _size(mirror: Path) -> int:
    """Return bytes of the packs that stay.

    Git writes a new one under a name with a dot in front.
    """
    found = 0
    for path in mirror.glob("objects/pack/pack-*.pack"):
        with contextlib.suppress(FileNotFoundError):  # deleted between two looks
            found += path.stat().st_size
    return found
