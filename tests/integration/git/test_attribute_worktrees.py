"""Archives that begin early contain what all others do, or do not begin early (I9)."""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import anyio
import pytest
from support.repositories import SourceRepository
from support.wait import wait_until

from asyncbuild.config import GitSettings
from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions, ExportAttributes
from asyncbuild.domain.errors import StageError
from asyncbuild.git.formats.gitattributes import TreeListing
from asyncbuild.git.process.command import Git
from asyncbuild.git.reader import Reader
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.git.tree.attribute_worktrees import CommitTree, Worktrees
from asyncbuild.git.tree.worktree import open_directory

_FILES: dict[str, bytes | str | None] = {
    ".gitattributes": b"[attr]dos text eol=crlf\n*.secret export-ignore\nstamp export-subst\n"
    b"*.dos dos\n*.id ident\n*.wide working-tree-encoding=UTF-16\n/gone/ export-ignore\n",
    "a.dos": b"1\n2\n",
    "b.id": b"$Id$\n",
    "c.wide": "grüße\n".encode(),
    "stamp": b"$Format:%H %ct %h$",
    "gone/x": b"x",
    "libs/y.secret": b"y",
    "libs/.gitattributes": b"*.secret -export-ignore\nz.dos -eol -text\r\n",
    "libs/z.dos": b"1\n",
    "services/api/.gitattributes": b"/test export-ignore\nversion export-subst",
    "services/api/version": b"$Format:%H$",
    "services/api/key.secret": b"k",
    "services/api/b.dos": b"2\n",
    "services/api/test/t.py": b"t",
    "services/api/deep/f": b"f",
    "module": "1" * 40,
}
_SUBTREE = ArchiveOptions(subtree="services/api")
_OPTIONS = [
    WHOLE,
    _SUBTREE,
    ArchiveOptions(paths=("libs", "*.dos")),
    replace(_SUBTREE, paths=("deep", "version")),
    ArchiveOptions(export_attributes=ExportAttributes.IGNORE),
    replace(_SUBTREE, export_attributes=ExportAttributes.IGNORE),
]


@dataclass
class Yard:
    """A repository, and working trees for its archives."""

    source: SourceRepository
    reader: Reader
    worktrees: Worktrees

    async def snapshot(self, commit: str, options: ArchiveOptions = WHOLE) -> Snapshot:
        """Return a snapshot of a commit, without working trees."""
        found = (await self.reader.find(self.source.path, [commit], "test"))[commit]
        snapshot = Snapshot(
            path=self.source.path,
            commit=commit,
            commit_time=found.time,
            tree=found.tree,
            name="test",
            reader=self.reader,
        )
        return await snapshot.select(options)

    async def archive(self, snapshot: Snapshot, paths: tuple[bytes, ...] = ()) -> bytes | str:
        """Return the tar, or the reason why there is none."""
        try:
            async with snapshot.open_archive(paths=paths) as chunks:
                return b"".join([chunk async for chunk in chunks])
        except StageError as error:
            return error.reason

    async def is_known(self, snapshot: Snapshot) -> bool:
        """Return whether there is a working tree for it; asking begins the look through it."""
        tree = CommitTree(snapshot.path, snapshot.root or snapshot.tree, "refs/heads/main")
        async with self.worktrees.open(tree) as worktree:
            return worktree is not None

    async def learn(self, snapshot: Snapshot) -> None:
        """Look through the snapshot's tree, and wait for the end."""
        assert not await self.is_known(snapshot)
        await wait_until(lambda: not self.worktrees.is_learning)

    async def check(self, commit: str, options: ArchiveOptions = WHOLE) -> bool:
        """Check that both ways agree; return whether there was a working tree."""
        plain = await self.snapshot(commit, options)
        quick = replace(plain, worktrees=self.worktrees, ref="refs/heads/main")
        known = await self.is_known(quick)
        assert await self.archive(plain) == await self.archive(quick)
        return known


@asynccontextmanager
async def _open_yard(
    directory: Path, files: Mapping[str, bytes | str | None], least_paths: int = 0
) -> AsyncIterator[Yard]:
    source = SourceRepository(directory / "web" / "repository.git")
    source.commit(files)
    git = Git(GitSettings(cache_directory=directory / "cache"))
    reader = Reader(git, directory / "cache" / "reader")
    await reader.prepare()
    async with (
        open_directory(directory / "cache" / "reader") as place,
        anyio.create_task_group() as tasks,
    ):
        worktrees = Worktrees(reader, place, tasks, least_paths=least_paths, trusted_seconds=0)
        yield Yard(source, reader, worktrees)
        tasks.cancel_scope.cancel()


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    """Open a repository whose attributes do everything that attributes can do to an archive."""
    async with _open_yard(tmp_path, _FILES) as yard:
        yield yard


async def test_a_tree_is_looked_through_after_its_first_archive(yard: Yard) -> None:
    """At the same time it would take the processor from the archive."""
    plain = await yard.snapshot(yard.source.tip("main") or "")
    quick = replace(plain, worktrees=yard.worktrees, ref="refs/heads/main")
    async with quick.open_archive() as chunks:
        await anext(chunks)
        assert not yard.worktrees.is_learning
    assert yard.worktrees.is_learning
    await wait_until(lambda: not yard.worktrees.is_learning)
    assert await yard.is_known(quick)


@pytest.mark.parametrize("there", [True, False])
async def test_a_tree_can_be_looked_through_in_another_repository(
    yard: Yard, *, there: bool
) -> None:
    """Another repository may have the tree; without the tree nothing is learned."""
    snapshot = await yard.snapshot(yard.source.tip("main") or "")
    later = CommitTree(snapshot.path.parent / "later.git", snapshot.tree, "refs/heads/main")
    place = snapshot.path if there else snapshot.path.parent / "nowhere.git"
    await yard.worktrees.learn_early(later, place)
    assert not yard.worktrees.is_learning
    async with yard.worktrees.open(later) as worktree:
        assert there == (worktree is not None)


@pytest.mark.parametrize("options", _OPTIONS, ids=str)
async def test_both_ways_make_the_same_bytes(yard: Yard, options: ArchiveOptions) -> None:
    """The commit that was looked through, and the next one, which was only compared."""
    first = yard.source.tip("main") or ""
    await yard.learn(await yard.snapshot(first, options))
    assert await yard.check(first, options)
    second = yard.source.commit({"new.dos": b"n\n", "services/api/new.secret": b"", "a.dos": None})
    assert await yard.check(second, options)


_NAMES = ["a", "b.txt", "C.TXT", ".x", "vendor", "deep", "é", "a b", "[a]", "a*"]
_PATTERNS = [
    *("*", "*.txt", "a", "/a", "deep/a", "**/b.txt", "vendor/", "vendor/**", "!a", "#a"),
    *(
        '"a b"',
        '"\\303\\251"',
        "é",
        "[a]",
        "\\[a\\]",
        "a*",
        "C.TXT",
        "c.txt",
        "/deep/*",
        "x" * 3000,
    ),
]
_SAID = [
    *("export-ignore", "-export-ignore", "!export-ignore", "export-subst", "-export-subst"),
    *("text", "-text", "text=auto", "eol=crlf", "eol=lf", "ident", "binary", "mine", "-mine"),
    *("working-tree-encoding=UTF-16LE", "filter=lfs diff=lfs merge=lfs -text", "crlf", "-crlf"),
]
_MACROS = [
    "[attr]mine export-ignore",
    "[attr]mine eol=crlf text",
    "[attr]mine -export-ignore ident",
]
_CONTENTS = [b"", b"1\n2\r\n3\n", b"$Id$ $Format:%H %an$\n", b"\0\n\n", "ü\n".encode()]


_OFTEN, _SELDOM = 0.4, 0.2


def _attributes(chance: Random) -> bytes:
    lines = []
    for _ in range(chance.randint(0, 4)):
        said = " ".join(chance.sample(_SAID, chance.randint(1, 2)))
        lines.append(chance.choice(_PATTERNS) + chance.choice(" \t") + said)
    if chance.random() < _OFTEN:
        lines.insert(0, chance.choice(_MACROS))
    return (chance.choice(["\n", "\r\n"]).join(lines) + chance.choice(["", "\n"])).encode()


def _changes(chance: Random) -> dict[str, bytes | str | None]:
    made: dict[str, bytes | str | None] = {}
    for _ in range(chance.randint(1, 6)):
        depth = chance.randint(0, 3)
        folders = [chance.choice(["vendor", "deep", "é"]) for _ in range(depth)]
        if chance.random() < _OFTEN:
            path = "/".join([*folders, ".gitattributes"])
            made[path] = None if chance.random() < _SELDOM else _attributes(chance)
        else:
            path = "/".join([*folders, f"{chance.choice(_NAMES)}{chance.randint(0, 3)}"])
            made[path] = None if chance.random() < _SELDOM else chance.choice(_CONTENTS)
    return made


@pytest.mark.parametrize("seed", range(3))
async def test_both_ways_agree_for_any_attributes_and_tree(tmp_path: Path, seed: int) -> None:
    """A chain of commits with any changes: both ways agree, with or without a working tree."""
    chance = Random(seed)  # noqa: S311 - repeatable, not secret
    files = {f"{folder}f{n}": b"1\n" for folder in ("", "vendor/", "deep/") for n in range(5)}
    known = 0
    async with _open_yard(tmp_path, files) as yard:
        for _ in range(40):
            commit = yard.source.commit(_changes(chance))
            options = chance.choice([WHOLE, WHOLE, ArchiveOptions(subtree="deep")])
            known += await yard.check(commit, options)
            await wait_until(lambda: not yard.worktrees.is_learning)
            known += await yard.check(commit, options)
    assert known > 20


async def test_named_paths_are_read_alike(yard: Yard) -> None:
    """Delta archives request them."""
    plain = await yard.snapshot(yard.source.tip("main") or "")
    await yard.learn(plain)
    quick = replace(plain, worktrees=yard.worktrees, ref="refs/heads/main")
    paths = (b"libs/z.dos", b"stamp", b"b.id", b"module")
    expected = await yard.archive(plain, paths)
    assert isinstance(expected, bytes)
    assert expected == await yard.archive(quick, paths)


async def test_attributes_of_the_working_directory_are_ignored(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of that name happen to lie where the service was started."""
    (tmp_path / ".gitattributes").write_text("* export-ignore\n")
    monkeypatch.chdir(tmp_path)
    commit = yard.source.commit({"libs/.gitattributes": None})
    await yard.learn(await yard.snapshot(commit))
    assert await yard.check(commit)


@pytest.mark.parametrize(
    "change",
    [
        {"libs/.gitattributes": b"* export-ignore\n"},
        {"libs/.gitattributes": None},
        {"new/.gitattributes": b"* export-ignore\n", "new/x": b"x"},
    ],
)
async def test_changed_attributes_are_looked_through_again(
    yard: Yard, change: dict[str, bytes | str | None]
) -> None:
    """A changed file, one less and one more: first the slow way, then the quick one again."""
    await yard.learn(await yard.snapshot(yard.source.tip("main") or ""))
    commit = yard.source.commit(change)
    assert not await yard.check(commit)
    await wait_until(lambda: not yard.worktrees.is_learning)
    assert await yard.check(commit)


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf*.dos export-ignore\n", b"* text\0\n*.dos export-ignore\n"]
)
async def test_attributes_that_differ_as_files_are_left_to_git(
    tmp_path: Path, content: bytes
) -> None:
    """A byte order mark, a zero byte."""
    async with _open_yard(tmp_path, {".gitattributes": content, "a.dos": b"a"}) as yard:
        commit = yard.source.tip("main") or ""
        await yard.learn(await yard.snapshot(commit))
        assert not await yard.check(commit)


async def test_small_trees_are_left_to_git(tmp_path: Path) -> None:
    """Comparing them takes longer than reading them."""
    async with _open_yard(tmp_path, _FILES, least_paths=len(_FILES) + 1) as yard:
        commit = yard.source.tip("main") or ""
        await yard.learn(await yard.snapshot(commit))
        assert not await yard.is_known(await yard.snapshot(commit))
        assert not yard.worktrees.is_learning


def _hostile(yard: Yard) -> list[str]:
    """Return commits whose trees git may refuse to archive, each on top of the first one's tree."""
    source = yard.source
    blob = source.git("hash-object", "-w", "--stdin", stdin=b"hi")
    above = source.git("mktree", "-z", stdin=b"100644 blob %s\tconfig\0" % blob.encode())
    there = source.git("ls-tree", "-z", "main").encode()
    commits = []
    for name in (
        *(b"..", b".", b".git", b".GIT", b"git~1", b"GIT~1", b".git ", b".git:x", b".gitmodules"),
        *(b"x\\..", b"x\\.git", b".g\xe2\x80\x8cit", b".gitignore", b"plain", b"a.dos"),
    ):
        for mode, kind, object_id in (
            (b"100644", b"blob", blob),
            (b"120000", b"blob", blob),
            (b"040000", b"tree", above),
            (b"160000", b"commit", "1" * 40),
        ):
            entry = b"%s %s %s\t%s\0" % (mode, kind, object_id.encode(), name)
            tree = source.git("mktree", "-z", stdin=there + entry)
            commits.append(source.git("commit-tree", "-m", "hostile", tree))
    return commits


async def test_a_tree_that_git_refuses_stays_refused(yard: Yard) -> None:
    """Each hostile tree has the same archive, or the same error; looked through or compared."""
    await yard.learn(await yard.snapshot(yard.source.tip("main") or ""))
    refused = known = 0
    for commit in _hostile(yard):
        known += await yard.check(commit)
        await wait_until(lambda: not yard.worktrees.is_learning)
        refused += isinstance(await yard.archive(await yard.snapshot(commit)), str)
    assert refused >= 20
    assert known >= 8


async def test_listings_of_hostile_trees_are_not_used(yard: Yard) -> None:
    """Each tree that git refuses is recognised by its listing."""
    for commit in _hostile(yard):
        listing = TreeListing()
        arguments = ("ls-tree", "-r", "-z", commit)
        listing.feed(
            await yard.reader.run(yard.source.path, arguments, commit=commit, doing="list")
        )
        if listing.usable:
            assert isinstance(await yard.archive(await yard.snapshot(commit)), bytes)


@pytest.mark.parametrize(("attribute", "converted"), [("eol=crlf", True), ("-text", False)])
async def test_a_working_tree_says_whether_its_attributes_convert(
    yard: Yard, attribute: str, *, converted: bool
) -> None:
    """Without conversion git may stream large files, also of the next tree, which is compared."""
    files = {".gitattributes": f"* {attribute}\n".encode(), "a": b"1\n"}
    first = yard.source.commit(files, parent=None)
    await yard.learn(await yard.snapshot(first))
    for commit in (first, yard.source.commit({"b": b"2\n" * 1_000_000})):
        snapshot = await yard.snapshot(commit)
        tree = CommitTree(snapshot.path, snapshot.tree, "refs/heads/main")
        async with yard.worktrees.open(tree) as worktree:
            assert worktree is not None
            assert worktree.converts is converted
        assert await yard.check(commit)


async def test_a_deleted_file_is_not_taken_for_empty(yard: Yard) -> None:
    """The cache was cleared: the archive is made without files, then with new ones."""
    commit = yard.source.tip("main") or ""
    snapshot = await yard.snapshot(commit)
    await yard.learn(snapshot)
    tree = CommitTree(snapshot.path, snapshot.tree, "refs/heads/main")
    async with yard.worktrees.open(tree) as worktree:
        assert worktree is not None
    (worktree.path / "libs" / ".gitattributes").unlink()
    assert not await yard.check(commit)
    await wait_until(lambda: not yard.worktrees.is_learning)
    assert await yard.check(commit)


async def test_a_deleted_tree_is_not_compared_with(yard: Yard) -> None:
    """The mirror was cloned again without the older commit."""
    await yard.learn(await yard.snapshot(yard.source.tip("main") or ""))
    commit = yard.source.commit({"x": b"x"}, parent=None, branch="other")
    yard.source.delete("refs/heads/main")
    yard.source.git("gc", "--prune=now", "--quiet")
    yard.source.git("repack", "-adq")
    assert not await yard.check(commit)


async def test_a_broken_tree_fails_the_archive(yard: Yard) -> None:
    """The tree is read later than without a working tree, but it is read."""
    commit = yard.source.tip("main") or ""
    snapshot = await yard.snapshot(commit)
    await yard.learn(snapshot)
    quick = replace(snapshot, worktrees=yard.worktrees, ref="refs/heads/main")
    packs = list((yard.source.path / "objects" / "pack").glob("*.pack"))
    for pack in packs:
        content = pack.read_bytes()
        pack.unlink()
        yard.source.git("unpack-objects", "-q", stdin=content)
    missing = yard.source.git("rev-parse", f"{commit}:services/api")
    (yard.source.path / "objects" / missing[:2] / missing[2:]).unlink()
    assert isinstance(await yard.archive(quick), str)


async def test_many_trees_are_compared_at_once(yard: Yard) -> None:
    """Eight branches pushed together: each is known, and its archive is correct."""
    await yard.learn(await yard.snapshot(yard.source.tip("main") or ""))
    commits = [
        yard.source.commit({f"{n}.txt": b"%d" % n}, branch=f"b{n}", parent=yard.source.tip("main"))
        for n in range(8)
    ]
    known: list[bool] = []

    async def check(commit: str) -> None:
        known.append(await yard.check(commit))

    async with anyio.create_task_group() as tasks:
        for commit in commits:
            tasks.start_soon(check, commit)
    assert known == [True] * 8


async def test_files_of_a_killed_process_are_deleted(tmp_path: Path) -> None:
    """Files that another process still uses are not."""
    script = (
        "import sys, anyio; from pathlib import Path\n"
        "from asyncbuild.git.tree.worktree import open_directory\n"
        "async def main():\n"
        "    async with open_directory(Path(sys.argv[1])) as place:\n"
        "        (place / 'x').mkdir(); print(flush=True); await anyio.sleep(600)\n"
        "anyio.run(main)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    async with await anyio.open_process(command) as process:
        assert process.stdout
        await process.stdout.receive()
        async with open_directory(tmp_path) as place:
            assert len(os.listdir(tmp_path)) == 2  # noqa: PTH208 - names
        assert place.name not in os.listdir(tmp_path)  # noqa: PTH208 - names
        process.kill()
    async with open_directory(tmp_path) as place:
        assert os.listdir(tmp_path) == [place.name]  # noqa: PTH208 - names
