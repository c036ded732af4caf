"""Repositories with pushes, their events, and the contents of commits by git."""

import io
import json
import tempfile
from pathlib import Path

import pytest

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Change, Nothing, Push
from asyncbuild.forges.codecommit_messages import parse_message
from asyncbuild.local.expected_tree import read_tree, run_git
from asyncbuild.local.replay import Replay, names_of
from asyncbuild.local.verify import Expects, Pushed, iter_differences
from asyncbuild.local.workload import STORIES, SampleRepository, event_of


async def at_once(_: Pushed) -> None:
    """Wait for no build."""


@pytest.fixture
async def pushes(tmp_path: Path) -> list[Pushed]:
    """Return all pushes of one made-up repository."""
    words = "main develop feature/x main #v1 -feature/x".split()  # noqa: SIM905 - written like a story
    story = await SampleRepository.create(tmp_path, "shop", words, seed=7)
    return [push async for push in story.iter_pushes(at_once)]


def test_stories_cover_all_kinds() -> None:
    """At least 44 pushes over 5 repositories: tags, deletions, uploads alone, features."""
    words = [story.split() for story in STORIES.values()]
    flat = [word for story in words for word in story]
    assert len(words) == 5
    assert len(flat) >= 44
    assert {"develop", "feature/basket", "#v1.0", "-fix/rounding"} <= set(flat)


async def test_pushes_arrive_in_the_bare_repository(pushes: list[Pushed]) -> None:
    """Every commit pushed is there, the refs are where the last push left them."""
    refs = await run_git("for-each-ref", "--format=%(refname)", directory=pushes[0].directory)
    assert refs.decode().split() == ["refs/heads/develop", "refs/heads/main", "refs/tags/v1"]
    for push in pushes:
        if push.commit:
            await run_git("cat-file", "-e", push.commit, directory=push.directory)
    tip = await run_git("rev-parse", "refs/heads/main", directory=pushes[0].directory)
    assert tip.decode().strip() == pushes[3].commit == pushes[4].commit


async def test_pushes_have_their_expectation(pushes: list[Pushed]) -> None:
    """Branches are built, deployment branches uploaded, tags and deletions neither."""
    build, upload, nothing = Expects.BUILD, Expects.UPLOAD, Expects.NOTHING
    assert [p.expects for p in pushes] == [build, upload, build, build, nothing, nothing]
    assert pushes[1].key == f"shop/develop/{pushes[1].commit}.zip"


async def test_events_are_read_by_the_service(pushes: list[Pushed]) -> None:
    """The service's own reader accepts each: created, updated, tag, deleted."""
    events = [parse_message(json.dumps(event_of(push)))[0] for push in pushes]
    changes = [event.change if isinstance(event, Push) else None for event in events]
    assert changes == [
        Change.CREATED, Change.CREATED, Change.CREATED, Change.UPDATED, Change.CREATED, None,
    ]  # fmt: skip
    assert isinstance(events[-1], Nothing)
    for push, event in zip(pushes, events, strict=True):
        assert not isinstance(event, Reject)
        assert event.id == push.id
        assert event.ref == push.ref


async def test_equal_seeds_give_equal_commits(tmp_path: Path) -> None:
    """The demo shows the same commits every time."""
    commits = []
    for directory in ("one", "two"):
        story = await SampleRepository.create(
            tmp_path / directory, "shop", ["main", "main"], seed=3
        )
        commits.append([push.commit async for push in story.iter_pushes(at_once)])
    assert commits[0] == commits[1]


async def test_trees_equal_gits_archives(pushes: list[Pushed]) -> None:
    """A made-up tree has every kind of entry, and equals git's own zip of it."""
    tree = await read_tree(pushes[0].directory, str(pushes[0].commit))
    assert {each.kind for each in tree.entries.values()} == {
        "file", "executable", "link", "directory",
    }  # fmt: skip
    assert any(not path.isascii() for path in tree.entries)
    for push in pushes:
        if push.commit:
            archive = await run_git(
                "archive", "--format=zip", push.commit, directory=push.directory
            )
            tree = await read_tree(push.directory, push.commit)
            assert list(iter_differences(io.BytesIO(archive), tree)) == []


async def test_trees_follow_gitattributes(tmp_path: Path) -> None:
    """export-ignore and export-subst change an archive's contents; submodules are empty."""
    stream = b"""commit refs/heads/main
committer A <a@example.com> 1700000000 +0000
data 1
x
M 100644 inline .gitattributes
data 41
secret export-ignore
id.txt export-subst

M 100644 inline secret
data 1
s
M 100644 inline id.txt
data 11
$Format:%H$
M 160000 0123456789012345678901234567890123456789 module
M 120000 inline link
data 6
id.txt
M 100755 inline run
data 1
r
"""
    await run_git("init", "--quiet", "--bare", str(tmp_path))
    await run_git("fast-import", "--quiet", directory=tmp_path, given=stream)
    commit = (await run_git("rev-parse", "refs/heads/main", directory=tmp_path)).decode().strip()
    tree = await read_tree(tmp_path, commit)
    kinds = {path.decode(): entry.kind for path, entry in tree.entries.items()}
    assert kinds == {
        ".gitattributes": "file",
        "id.txt": "file",
        "link": "link",
        "module": "directory",
        "run": "executable",
    }
    archive = await run_git("archive", "--format=zip", commit, directory=tmp_path)
    assert list(iter_differences(io.BytesIO(archive), tree)) == []


async def test_a_replay_pushes_the_last_commits(tmp_path: Path, pushes: list[Pushed]) -> None:
    """The newest first-parent commits of the default branch, oldest first, one push each."""
    source = pushes[0].directory
    replay = await Replay.create(tmp_path / "replay", str(source), pushes=5, name="mine")
    assert replay.length == 2
    again = [push async for push in replay.iter_pushes(at_once)]
    assert [push.commit for push in again] == [pushes[0].commit, pushes[3].commit]
    assert [push.old_commit for push in again] == [None, pushes[0].commit]
    refs = await run_git("for-each-ref", "--format=%(refname)", directory=replay.remote.directory)
    assert refs.decode().split() == ["refs/heads/main"]


async def test_a_replay_without_commits_is_refused(tmp_path: Path) -> None:
    """A path without repository, or a repository without commit: one sentence with its name."""
    with pytest.raises(Reject, match="no-such-place"):
        await Replay.create(tmp_path, str(tmp_path / "no-such-place"), pushes=1, name="a")
    with tempfile.TemporaryDirectory() as empty:
        await run_git("init", "--quiet", empty)
        with pytest.raises(Reject, match="its HEAD has no commit"):
            await Replay.create(tmp_path, empty, pushes=1, name="b")


def test_names_are_taken_from_the_end_and_are_unique() -> None:
    """Paths, URLs and scp-like addresses; names that CodeCommit and CodeBuild take."""
    sources = ["/a/b.git", "https://example.com/x/b", "git@example.com:c/d e.f", "./b/", ".git"]
    assert names_of(sources) == ["b", "b-2", "d-e-f", "b-3", "repository"]
