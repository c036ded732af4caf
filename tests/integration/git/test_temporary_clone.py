"""`asyncbuild archive`: one commit of any directory or URL, without the cache."""

import os
from pathlib import Path

import pytest
from support.mirrors import KEY, REGION, SECRET, TOKEN, Site, fixed, read_archive

from asyncbuild.domain.errors import Reject, StageError, Unreachable
from asyncbuild.forges.codecommit_login import AwsCredentials
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.temporary_clone import CommitPlace, open_commit


async def archive(site: Site, where: str, revision: str) -> tuple[str, bytes]:
    """Return the commit that was found, and its tar."""
    settings = site.settings()
    remotes = Remotes(settings, fixed(AwsCredentials(KEY, SECRET, TOKEN)))
    async with open_commit(
        CommitPlace(where, revision, REGION), settings=settings, remotes=remotes
    ) as snapshot:
        return snapshot.commit, await read_archive(snapshot)


def contents(directory: Path) -> dict[str, float]:
    """Return every file below, with the time of its last change."""
    return {str(path): path.stat().st_mtime for path in directory.rglob("*")}


@pytest.mark.parametrize("revision", ["HEAD", "main", "main~1", "v1", "refs/heads/main"])
async def test_a_bare_directory_is_read_in_place(site: Site, revision: str) -> None:
    """Any revision can be given; nothing is fetched, nothing changes, no cache appears."""
    commits = site.source.commits(2)
    site.source.tag("v1", commits[0])
    before = contents(site.source.path)
    commit, tar = await archive(site, str(site.source.path), revision)
    assert commit in commits
    assert tar == site.source.archive(commit)
    assert contents(site.source.path) == before
    assert not site.cache.exists()


async def test_a_working_tree_and_a_linked_one_are_read(site: Site) -> None:
    """The root, a directory in it, and `git worktree` all lead to the objects."""
    commit = site.source.commit({"a": b"1", "d/b": b"2"})
    tree, linked = site.directory / "tree", site.directory / "linked"
    site.source.git("clone", "--quiet", str(site.source.path), str(tree))
    site.source.git("--git-dir", f"{tree}/.git", "worktree", "add", "-b", "x", str(linked))
    for where in (tree, tree / "d", linked):
        assert await archive(site, str(where), "HEAD") == (commit, site.source.archive(commit))


async def test_another_users_repository_is_read(site: Site) -> None:
    """Neither its owner nor its configuration, hooks or private attributes count."""
    commit = site.source.commit({"a": b"1\n"})
    expected = site.source.archive(commit)
    (site.source.path / "info").mkdir(exist_ok=True)
    (site.source.path / "info" / "attributes").write_text("* export-ignore\n")
    site.source.git("config", "tar.umask", "077")
    site.source.git("config", "core.autocrlf", "true")
    if os.geteuid() == 0:
        os.chown(site.source.path, 12345, 12345)
    assert await archive(site, str(site.source.path), "main") == (commit, expected)


@pytest.mark.parametrize("revision", ["main", "refs/heads/main", "v1", "tip"])
async def test_a_url_is_fetched_into_a_temporary_directory(site: Site, revision: str) -> None:
    """A branch, a tag or the id of a tip, with CodeCommit's credentials."""
    commit = site.source.commits(3)[-1]
    site.source.tag("v1", commit)
    url = f"{site.server.url}/v1/repos/web"
    got = await archive(site, url, commit if revision == "tip" else revision)
    assert got == (commit, site.source.archive(commit))
    assert not site.cache.exists()


async def test_a_file_url(site: Site) -> None:
    """`file://` is a URL: fetched, not read in place."""
    commit = site.source.commit({"a": b"1"})
    assert (await archive(site, f"file://{site.source.path}", "main"))[0] == commit


@pytest.mark.parametrize(
    ("where", "revision", "error"),
    [
        ("nowhere", "main", Reject),
        ("ext::sh -c id", "main", Reject),
        ("--upload-pack=id", "main", Reject),
        ("ftp://127.0.0.1/x", "main", Reject),
        ("SOURCE", "no-such-branch", Reject),
        ("SOURCE", "--all", Reject),
        ("SOURCE", "main:a", Reject),
        ("URL", "no-such-branch", Unreachable),
        ("URL", "OLDER", Reject),
        ("URL", "--all", Reject),
        ("URL", "main:refs/heads/x", Reject),
        ("URL", "main\n+a:b", Reject),
        ("URL", "", Reject),
    ],
)
async def test_a_repository_that_cannot_be_opened_is_reported(
    site: Site, where: str, revision: str, error: type[StageError]
) -> None:
    """Each with its reason, in one line."""
    older = site.source.commits(2)[0]
    words = {"SOURCE": str(site.source.path), "URL": f"{site.server.url}/v1/repos/web"}
    with pytest.raises(error) as caught:
        await archive(site, words.get(where, where), older if revision == "OLDER" else revision)
    assert "\n" not in str(caught.value)
