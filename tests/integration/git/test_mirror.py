"""A commit's way: over HTTP as CodeCommit speaks it, into a mirror, out as an archive."""

import io
import tarfile
from types import SimpleNamespace

import anyio
import pytest
from support.mirrors import ACCOUNT, MAIN, Site, archive_of, read_archive, repository
from support.repositories import EPOCH, SourceRepository

from asyncbuild.domain.errors import Reject, Unreachable
from asyncbuild.domain.git_names import kept_ref
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.git.snapshot import PATHS_BYTES_MOST
from asyncbuild.git.tree.attribute_worktrees import CommitTree


async def test_an_archive_equals_that_of_the_source(site: Site) -> None:
    """A commit fetched at depth 1 has byte for byte the archive that git makes at its origin."""
    commit = site.source.commit({"a.txt": b"one\r\n", "b/c": bytes(range(256)), "b/é": b""})
    async with site.open_mirrors() as mirrors:
        assert site.source.archive(commit) == await archive_of(mirrors, commit)


async def test_a_snapshot_has_the_commits_values(site: Site) -> None:
    """Commit, tree and time come from the commit object."""
    commit = site.source.commit({"a": b"1"})
    async with (
        site.open_mirrors() as mirrors,
        mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
    ):
        assert commit == snapshot.commit
        assert site.source.git("rev-parse", f"{commit}^{{tree}}") == snapshot.tree
        assert snapshot.commit_time == EPOCH + 60


async def test_the_whole_tree_is_listed(site: Site) -> None:
    """Every entry with mode, kind, id and raw path, trees included, in git's order."""
    commit = site.source.commit({"a": b"1", "d/b": b"2"})
    async with (
        site.open_mirrors() as mirrors,
        mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
    ):
        entries = [entry async for batch in snapshot.iter_tree() for entry in batch]
    listed = [f"{e.mode:06o} {e.kind} {e.object_id}\t{e.path.decode()}" for e in entries]
    assert site.source.git("ls-tree", "-r", "-t", commit).splitlines() == listed


async def test_paths_select_members_literally(site: Site) -> None:
    """Paths are names and never patterns: `*` and `:(top)` are ordinary characters."""
    names = ["*", "a", ":(top)b", "d/e"]
    commit = site.source.commit(dict.fromkeys(names, b"x"))
    async with (
        site.open_mirrors() as mirrors,
        mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
    ):
        tar = await read_archive(snapshot, b"*", b":(top)b", b"d")
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            assert archive.getnames() == ["*", ":(top)b", "d", "d/e"]
        with pytest.raises(ValueError, match="more than one git archive takes"):
            async with snapshot.open_archive(paths=[b"p" * PATHS_BYTES_MOST]):
                pytest.fail("git would have refused it")


async def test_a_fetched_commit_needs_no_request(site: Site) -> None:
    """A second push of a commit, even after its branch was deleted, sends the server nothing."""
    commit = site.source.commit({"a": b"1"})
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, commit)
        site.source.delete(MAIN)
        asked = site.server.connections.total()
        await archive_of(mirrors, commit, "refs/heads/other")
        assert asked == site.server.connections.total()
        assert (mirrors.statistics().fetched, mirrors.statistics().present) == (1, 1)


async def test_a_cache_outlives_the_process(site: Site) -> None:
    """A mirror found at the start is used."""
    commit = site.source.commit({"a": b"1"})
    for _ in range(2):
        async with site.open_mirrors() as mirrors:
            await archive_of(mirrors, commit)
    assert site.server.connections["web"] == 1


@pytest.mark.parametrize("protocol_v0", [True, False])
async def test_an_older_commit_of_a_moved_ref_is_found(site: Site, *, protocol_v0: bool) -> None:
    """A push overtaken by newer ones is found behind the tip, by id or by deepening."""
    site.server.behaviour.protocol_v0 = protocol_v0
    commits = site.source.commits(80)
    async with site.open_mirrors() as mirrors:
        for commit in (commits[70], commits[3]):  # within the first deepening, and beyond it
            assert site.source.archive(commit) == await archive_of(mirrors, commit)


@pytest.mark.parametrize("protocol_v0", [True, False])
@pytest.mark.parametrize("depth", [0, 1])
async def test_a_commit_that_no_ref_leads_to_is_unreachable(
    site: Site, *, protocol_v0: bool, depth: int
) -> None:
    """An id unknown to the server is overtaken, not an error, once all of the ref was searched."""
    site.server.behaviour.protocol_v0 = protocol_v0
    site.source.commits(3)
    async with site.open_mirrors(depth=depth) as mirrors:
        with pytest.raises(Unreachable, match="not in the history of refs/heads/main"):
            await archive_of(mirrors, "1" * 40)


async def test_a_force_push_is_followed(site: Site) -> None:
    """An unrelated history replaces the old one; the old commit is still in the mirror."""
    old = site.source.commit({"a": b"1"})
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, old)
        new = site.source.commit({"b": b"2"}, parent=None)
        assert site.source.archive(new) == await archive_of(mirrors, new)
        assert site.source.archive(old) == await archive_of(mirrors, old)


async def test_an_overwritten_commit_is_unreachable_on_a_v0_server(site: Site) -> None:
    """After a force push before the fetch, v0 serves tips alone."""
    old = site.source.commit({"a": b"1"})
    site.source.commit({"b": b"2"}, parent=None)
    async with site.open_mirrors() as mirrors:
        with pytest.raises(Unreachable):
            await archive_of(mirrors, old)


async def test_a_deleted_branch_is_unreachable_and_affects_no_other(site: Site) -> None:
    """Only the push with the deleted ref fails, of several that wait."""
    commit = site.source.commit({"a": b"1"})
    outcomes: dict[str, str] = {}

    async def fetch(mirrors: MirrorCache, ref: str, wanted: str) -> None:
        try:
            async with mirrors.open(repository(), ref=ref, commit=wanted) as snapshot:
                outcomes[ref] = snapshot.commit
        except Unreachable as error:
            outcomes[ref] = str(error)

    async with site.open_mirrors() as mirrors, anyio.create_task_group() as tasks:
        tasks.start_soon(fetch, mirrors, "refs/heads/gone", "2" * 40)
        tasks.start_soon(fetch, mirrors, MAIN, commit)
    assert commit == outcomes[MAIN]
    assert "refs/heads/gone of" in outcomes["refs/heads/gone"]
    assert "does not exist" in outcomes["refs/heads/gone"]


async def test_a_deleted_only_branch_leaves_no_mirror(site: Site) -> None:
    """A first fetch without objects creates nothing."""
    async with site.open_mirrors() as mirrors:
        with pytest.raises(Unreachable):
            await archive_of(mirrors, "2" * 40)
    assert not site.mirror.exists()
    assert [path.name for path in site.mirror.parent.glob("staging-*")] == []


async def test_a_tag_is_not_taken_for_a_deleted_branch(site: Site) -> None:
    """`git clone --branch` accepts a tag; a push names the exact ref."""
    commit = site.source.commit({"a": b"1"})
    site.source.tag("gone", commit)
    async with site.open_mirrors() as mirrors:
        with pytest.raises(Unreachable, match=r"refs/heads/gone of .* does not exist"):
            await archive_of(mirrors, commit, "refs/heads/gone")
    assert not site.mirror.exists()


async def test_a_new_mirror_keeps_its_branch_under_our_name_alone(site: Site) -> None:
    """Under its own name it would stay forever, and conflict with others (`a` and `a/b`)."""
    commit = site.source.commit({"a": b"1"})
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, commit)
    refs = site.source.git("--git-dir", str(site.mirror), "for-each-ref", "--format=%(refname)")
    assert kept_ref(MAIN) == refs
    assert commit == (site.mirror / "shallow").read_text().strip()


async def test_a_repository_on_this_machine_is_fetched_at_the_depth(site: Site) -> None:
    """Given a path, `git clone` would copy, or link, everything."""
    *_, commit = site.source.commits(3)
    remote = f"{site.source.path.parent}/{{repository}}"
    async with site.open_mirrors(remote=remote) as mirrors:
        assert site.source.archive(commit) == await archive_of(mirrors, commit)
    assert commit == (site.mirror / "shallow").read_text().strip()


@pytest.mark.parametrize("watched", [True, False])
async def test_a_first_archive_begins_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, *, watched: bool
) -> None:
    """Its attributes are read while git still checks the clone, with or without inotify."""
    if not watched:  # as for a user without free watches
        libc = SimpleNamespace(inotify_init1=lambda _: -1)
        monkeypatch.setattr("asyncbuild.git.mirrors.inotify._libc", libc)
    files = {f"{number // 100}/{number}": b"" for number in range(5_000)}
    commit = site.source.commit({**files, ".gitattributes": b"99/* export-ignore\n"})
    async with (
        site.open_mirrors() as mirrors,
        mirrors.open(repository(), ref=MAIN, commit=commit) as snapshot,
    ):
        assert snapshot.worktrees is not None
        tree = CommitTree(snapshot.path, snapshot.tree, MAIN)
        async with snapshot.worktrees.open(tree) as worktree:
            assert worktree is not None
        assert site.source.archive(commit) == await read_archive(snapshot)


async def test_refs_that_git_cannot_store_side_by_side(site: Site) -> None:
    """`a`, then `a/b`, then `A`.

    A directory in place of a file, and a name that differs in case.
    """
    async with site.open_mirrors() as mirrors:
        for branch in ("a", "a/b", "A"):
            commit = site.source.commit({"f": branch.encode()}, branch=branch)
            got = await archive_of(mirrors, commit, f"refs/heads/{branch}")
            assert site.source.archive(commit) == got
            site.source.delete(f"refs/heads/{branch}")


async def test_an_annotated_tag_is_peeled(site: Site) -> None:
    """An event may name the tag's object; the archive is the commit's."""
    commit = site.source.commit({"a": b"1"})
    tag = site.source.tag("v1", commit)
    async with (
        site.open_mirrors() as mirrors,
        mirrors.open(repository(), ref="refs/tags/v1", commit=tag) as snapshot,
    ):
        assert commit == snapshot.commit
        assert site.source.archive(commit) == await read_archive(snapshot)


async def test_a_tag_of_a_file_is_rejected(site: Site) -> None:
    """A tag that leads to no commit can never be built."""
    commit = site.source.commit({"a": b"1"})
    blob = site.source.git("rev-parse", f"{commit}:a")
    tag = site.source.tag("odd", blob)
    async with site.open_mirrors() as mirrors:
        with pytest.raises(Reject, match="is a tag and no commit"):
            await archive_of(mirrors, tag, "refs/tags/odd")


async def test_a_repository_of_sha256_ids(site: Site) -> None:
    """Object ids of 64 digits work like those of 40."""
    source = SourceRepository(site.directory / "remote" / "new", object_format="sha256")
    commit = source.commit({"a": b"1"})
    async with (
        site.open_mirrors() as mirrors,
        mirrors.open(repository("new"), ref=MAIN, commit=commit) as snapshot,
    ):
        assert source.archive(commit) == await read_archive(snapshot)


@pytest.mark.parametrize("warm", [True, False])
async def test_an_id_of_the_other_format_is_rejected(site: Site, *, warm: bool) -> None:
    """64 digits in a repository of 40: no fetch helps, and the mirror is not blamed."""
    commit = site.source.commit({"a": b"1"})
    async with site.open_mirrors() as mirrors:
        if warm:
            await archive_of(mirrors, commit)
        with pytest.raises(Reject, match="not an id of a repository of sha1 objects"):
            await archive_of(mirrors, "1" * 64)
        assert await archive_of(mirrors, commit)
        assert mirrors.statistics().renewals == 0


@pytest.mark.parametrize("warm", [True, False])
async def test_eight_pushes_at_once_share_a_fetch(site: Site, *, warm: bool) -> None:
    """One serves all in an existing mirror; pushes during the first clone share the next fetch."""
    first = site.source.commit({"a": b"1"})
    commits = {
        f"b{number}": site.source.commit({"n": b"%d" % number}, branch=f"b{number}")
        for number in range(8)
    }

    async def check(mirrors: MirrorCache, branch: str, commit: str) -> None:
        got = await archive_of(mirrors, commit, f"refs/heads/{branch}")
        assert site.source.archive(commit) == got

    async with site.open_mirrors() as mirrors:
        if warm:
            await archive_of(mirrors, first)
        before = mirrors.statistics()
        async with anyio.create_task_group() as tasks:
            for branch, commit in commits.items():
                tasks.start_soon(check, mirrors, branch, commit)
        after = mirrors.statistics()
    assert 1 <= after.fetches - before.fetches <= (1 if warm else 2)
    assert site.server.connections["web"] == after.fetches
    assert after.fetched - before.fetched == 8


async def test_pushes_during_a_fetch_share_the_next_one(site: Site) -> None:
    """While one fetch stalls seven pushes arrive; when it ends, one more serves all seven."""
    first = site.source.commit({"a": b"1"})
    commits: dict[str, str] = {}
    site.server.behaviour.stall_after_bytes = 0
    async with site.open_mirrors() as mirrors, anyio.create_task_group() as tasks:
        tasks.start_soon(archive_of, mirrors, first)
        await site.server.stalled.wait()
        for number in range(7):
            branch = f"late{number}"
            commits[branch] = site.source.commit({"n": b"%d" % number}, branch=branch)
            tasks.start_soon(archive_of, mirrors, commits[branch], f"refs/heads/{branch}")
        await anyio.wait_all_tasks_blocked()
        site.server.behaviour.stall_after_bytes = None
        site.server.resume.set()
    assert mirrors.statistics().fetches == 2


async def test_a_cancelled_push_leaves_the_fetch_to_others(site: Site) -> None:
    """The push that started a fetch is cancelled; another that waits for the fetch gets it."""
    commit = site.source.commit({"a": b"1"})
    site.server.behaviour.stall_after_bytes = 0
    got: list[bytes] = []

    async def wait(mirrors: MirrorCache) -> None:
        got.append(await archive_of(mirrors, commit))

    async with site.open_mirrors() as mirrors, anyio.create_task_group() as tasks:
        with anyio.CancelScope() as leaving:
            async with anyio.create_task_group() as first:
                first.start_soon(archive_of, mirrors, commit)
                await site.server.stalled.wait()
                tasks.start_soon(wait, mirrors)
                await anyio.wait_all_tasks_blocked()
                leaving.cancel()
        site.server.behaviour.stall_after_bytes = None
        site.server.resume.set()
    assert [site.source.archive(commit)] == got


async def test_ancestry_in_a_shallow_mirror(site: Site) -> None:
    """Connected commits decide, in both directions; a gap in between leaves the answer open."""
    commits = site.source.commits(1)
    async with site.open_mirrors() as mirrors:
        await archive_of(mirrors, commits[0])
        commits += site.source.commits(1)
        async with mirrors.open(repository(), ref=MAIN, commit=commits[1]) as snapshot:
            assert await snapshot.is_ancestor(commits[0], commits[1]) is True
            assert await snapshot.is_ancestor(commits[1], commits[0]) is False
            assert await snapshot.is_ancestor(commits[1], commits[1]) is True
        commits += site.source.commits(5)
        async with mirrors.open(repository(), ref=MAIN, commit=commits[-1]) as snapshot:
            assert await snapshot.is_ancestor(commits[0], commits[-1]) is None
            assert await snapshot.is_ancestor("3" * 40, commits[-1]) is None


async def test_ancestry_in_a_whole_mirror(site: Site) -> None:
    """With `depth = 0` the answer is always yes or no."""
    commits = site.source.commits(4)
    side = site.source.commit({"s": b"1"}, branch="side", parent=commits[0])
    async with site.open_mirrors(depth=0) as mirrors:
        await archive_of(mirrors, side, "refs/heads/side")
        async with mirrors.open(repository(), ref=MAIN, commit=commits[-1]) as snapshot:
            assert await snapshot.is_ancestor(commits[0], commits[-1]) is True
            assert await snapshot.is_ancestor(commits[-1], commits[0]) is False
            assert await snapshot.is_ancestor(side, commits[-1]) is False


async def test_export_subst_is_equal_in_every_mirror(site: Site) -> None:
    """`%h` and `%d` depend on the commit alone, not on the mirror's other contents.

    git writes `Z` for a time zone of +00:00 from 2.45 on.
    """
    files = {".gitattributes": b"v export-subst\n", "v": b"$Format:%H %h %d %cI$\n"}
    commit = site.source.commit(files)
    async with site.open_mirrors() as mirrors:
        first = await archive_of(mirrors, commit)
        for number in range(3):
            other = site.source.commit({"n": b"%d" % number}, branch=f"b{number}")
            await archive_of(mirrors, other, f"refs/heads/b{number}")
        assert first == await archive_of(mirrors, commit)
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        member = archive.extractfile("v")
        assert member
        filled = member.read().decode()
    assert filled.replace("+00:00", "Z") == f"{commit} {commit[:12]}  2023-11-14T22:14:20Z\n"


async def test_two_accounts_have_two_mirrors(site: Site) -> None:
    """Repositories of one name in two accounts are two repositories."""
    commit = site.source.commit({"a": b"1"})
    async with site.open_mirrors() as mirrors:
        for account in (ACCOUNT, "210987654321"):
            async with mirrors.open(
                repository(account=account), ref=MAIN, commit=commit
            ) as snapshot:
                assert account in snapshot.path.parts
    assert site.server.connections["web"] == 2
