"""Number of git processes that a push takes: counted, since each costs more than what it does."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from support.mirrors import MAIN, Site, archive_of, repository
from support.wait import wait_until

from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.git.tree.content_digests import digest_contents
from asyncbuild.git.tree.export_subst import Placeholders

_RECORDS = """#!/bin/sh
[ "$GIT_ALLOW_PROTOCOL" ] && [ ! "$RECORDED" ] && echo "$*" >> "{log}"  # the server has neither
RECORDED=1 exec {git} "$@"
"""
_KINDS = ("fetch", "clone", "archive", "ls-tree", "diff-tree", "merge-base", "--batch-command")
Count = Callable[[], Counter[str]]


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Count:
    """Count the gits that the service starts, by kind; not those that git starts."""
    log, program = tmp_path / "gits", tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(_RECORDS.format(log=log, git=shutil.which("git")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def count() -> Counter[str]:
        lines = log.read_text().splitlines()
        log.write_text("")
        kinds = [[each for each in _KINDS if each in line.split()] for line in lines]
        return Counter(kind[0] if kind else line for kind, line in zip(kinds, lines, strict=True))

    return count


async def _push(mirrors: MirrorCache, site: Site, commit: str, behind: str) -> None:
    """Do what a push does in git: prepare, then ask for the history in its turn."""
    web = repository()
    tar = await archive_of(mirrors, commit)
    assert tar == site.source.archive(commit)
    async with mirrors.open(web, ref=MAIN, commit=commit, behind=behind) as snapshot:
        await Placeholders().tell(snapshot)
    async with mirrors.open(web, ref=MAIN, commit=commit, behind=behind) as snapshot:
        assert snapshot.commit == commit


async def test_a_push_to_a_warm_mirror_takes_a_fetch_and_an_archive(
    site: Site, counted: Count
) -> None:
    """And one git that answers all questions of all pushes."""
    files = {f"d{at % 7}/{at}": b"%d" % at for at in range(60)}
    behind = site.source.commit({**files, ".gitattributes": b"*.bin -text\n"})
    async with site.open_mirrors() as mirrors:
        await _push(mirrors, site, behind, "")
        await wait_until(lambda: not mirrors._worktrees.is_learning)
        counted()
        for number in range(10):
            commit = site.source.commit({f"d{number % 7}/new": b"%d" % number})
            await _push(mirrors, site, commit, behind)
            behind = commit
    gits = counted()
    assert gits.pop("--batch-command", 0) <= 10  # one, if no pause between pushes is too long
    assert gits == {"fetch": 10, "archive": 10}


async def test_the_first_push_of_a_repository(site: Site, counted: Count) -> None:
    """The clone is looked into while git checks it: by gits of their own, since it is moved."""
    commit = site.source.commit({"a": b"1", ".gitattributes": b"*.bin -text\n"})
    async with site.open_mirrors() as mirrors:
        await _push(mirrors, site, commit, "")
        await wait_until(lambda: not mirrors._worktrees.is_learning)
    gits = counted()
    early = gits.pop("cat-file --batch", 0) + gits.pop("ls-tree", 0)
    assert early <= 3
    assert gits == {"clone": 1, "archive": 1, "--batch-command": 1}


async def test_a_large_tree_is_not_read_in_vain_each_time(site: Site, counted: Count) -> None:
    """Beyond some thousand entries git lists it once, and compares it from then on."""
    behind = site.source.commit({f"{at % 50}/{at}": b"" for at in range(6_000)})
    async with site.open_mirrors() as mirrors:
        await _push(mirrors, site, behind, "")
        await wait_until(lambda: not mirrors._worktrees.is_learning)
        counted()
        for number in range(3):
            commit = site.source.commit({"1/1": b"%d" % number})
            await _push(mirrors, site, commit, behind)
            behind = commit
    gits = counted()
    assert gits.pop("--batch-command", 0) <= 3
    assert gits == {"fetch": 3, "archive": 3, "diff-tree": 3}


async def test_a_digest_takes_no_git_of_its_own(site: Site, counted: Count) -> None:
    """Plain paths in `changes` of any number of rules are looked up by the git that stays."""
    asked = [("d1",), ("d2/x", "!d2/x/y"), ("d3/2",), ("!d4",)]
    behind = site.source.commit({f"d{at % 7}/{at}": b"%d" % at for at in range(60)})
    async with site.open_mirrors() as mirrors:
        async with mirrors.open(repository(), ref=MAIN, commit=behind) as snapshot:
            before = await digest_contents(snapshot, asked)
        await wait_until(lambda: not mirrors._worktrees.is_learning)
        counted()
        commit = site.source.commit({"d3/2": b"new"})
        async with mirrors.open(repository(), ref=MAIN, commit=commit, behind=behind) as snapshot:
            after = await digest_contents(snapshot, asked)
    gits = counted()
    assert gits.pop("--batch-command", 0) <= 1
    assert gits == {"fetch": 1}
    assert [before[each] == after[each] for each in asked] == [True, True, False, False]
