"""Delta archives contain exactly what `git archive` writes.

Otherwise a full one is made (I8, I9).
"""

import io
import random
import uuid
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from botocore.exceptions import ClientError
from support.archives import (
    Member,
    live_bytes_of_zip,
    members_below,
    members_of_commit,
    members_of_zip,
)
from support.lfs import pointer_of
from support.repositories import SourceRepository
from support.servers import REGION
from support.wire import Call, Tapped, refused

from asyncbuild.archive.archive_order import Order
from asyncbuild.archive.archiver import Archiver, Result
from asyncbuild.archive.delta.lineage import ArchiveLineage
from asyncbuild.archive.delta.planning.base import Base, pack_base, parse_base
from asyncbuild.aws.session import Aws
from asyncbuild.commands import archive as export
from asyncbuild.config import MIB, ArchiveSettings, AwsSettings, Settings, StorageSettings
from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions, ExportAttributes, Lfs
from asyncbuild.domain.errors import Reject, StageError
from asyncbuild.domain.repository import Repository
from asyncbuild.git.content.lfs.files import with_large_files
from asyncbuild.git.content.lfs.store import Present
from asyncbuild.git.formats.lfs_pointers import parse_pointer
from asyncbuild.git.process.command import Git
from asyncbuild.git.reader import Reader
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.runtime.memory_budget import MemoryBudget
from asyncbuild.storage.s3 import Store
from asyncbuild.storage.single_part import FINGERPRINT_KEY
from asyncbuild.zip.engine import open_engine

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from asyncbuild.local.servers.children import LocalServer

BUCKET = "deltas"
_FILES = 60
_Tree = Mapping[str, bytes | None]


def _noise(seed: int, nbytes: int = 250_000) -> bytes:
    return random.Random(seed).randbytes(nbytes)  # noqa: S311 - the same in every run


class Bench:
    """A repository, a bucket and an archiver for both."""

    def __init__(self, directory: Path, client: "S3Client", archiver: Archiver) -> None:
        self.source = SourceRepository(directory / "source")
        self.source.git(
            "config", "core.compression", "0"
        )  # noise does not compress, it only takes time
        self.client = client
        self.archiver = archiver
        self.directory = directory
        self.reader = Reader(Git(Settings().git), directory / "reader")
        self.large = directory / "lfs"
        self.contents: dict[bytes, bytes] = {}
        self.origin = ArchiveLineage(
            Repository.of_codecommit("1", REGION, uuid.uuid4().hex), "refs/heads/main"
        )

    def commit(self, changes: _Tree) -> str:
        """A commit on main."""
        return self.source.commit(changes)

    def begin(self, more: _Tree | None = None) -> str:
        """Commit 15 MB that cannot be compressed, and `more`."""
        files: dict[str, bytes | None] = {f"d{n % 7}/f{n:02}": _noise(n) for n in range(_FILES)}
        return self.commit({**files, **(more or {})})

    def script(self, lines: bytes) -> str:
        """Commit changes that only git-fast-import(1)'s own commands can express."""
        head = b"commit refs/heads/main\ncommitter C <c@e> 1700009999 +0000\ndata 0\n"
        self.source.git("fast-import", "--quiet", stdin=head + b"from refs/heads/main^0\n" + lines)
        return self.source.tip("main") or ""

    async def put(self, commit: str, **more: Any) -> tuple[Result, bytes]:  # noqa: ANN401 - of Order
        """Make the archive; check that it has the commit's members and no dead byte."""
        path = more.pop("path", self.source.path)
        found = (await self.reader.find(path, [commit], "test"))[commit]
        snapshot = Snapshot(
            path=path,
            commit=commit,
            commit_time=found.time,
            tree=found.tree,
            name="test",
            reader=self.reader,
        )
        options: ArchiveOptions = more.pop("options", WHOLE)
        snapshot = await snapshot.select(options)
        objects = Present(self.large, "test")
        snapshot = await with_large_files(replace(snapshot, objects=objects))
        archiver = more.pop("archiver", self.archiver)
        key = more.pop("key", f"{uuid.uuid4()}.zip")
        order = Order(snapshot, key, lambda: None, **{"origin": self.origin, **more})
        result = await archiver.put(order)
        body = await self.body(key)
        expected = members_of_commit(self.source, commit)
        if options.subtree:
            expected = members_below(expected, options.subtree)
        if options.paths:  # plain directories in these tests
            begins = tuple(f"{path}/" for path in options.paths)
            expected = {name: each for name, each in expected.items() if name.startswith(begins)}
        if options.lfs is Lfs.CONTENT:
            expected = {name: self._filled(name, each) for name, each in expected.items()}
        assert expected == members_of_zip(body)
        assert len(body) == live_bytes_of_zip(body) == result.made.archive.size_bytes
        return result, body

    def add_large(self, content: bytes) -> bytes:
        """Keep a content like git-lfs; return its pointer."""
        pointer = pointer_of(content)
        self.contents[pointer] = content
        path = self._large_path(pointer)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return pointer

    def lose_large(self, pointer: bytes) -> None:
        """Remove a content, so that reading it fails from now on."""
        self._large_path(pointer).unlink()

    def _large_path(self, pointer: bytes) -> Path:
        found = parse_pointer(pointer)
        assert found is not None
        return self.large / "objects" / found.path

    def _filled(self, name: str, member: Member) -> Member:
        content = self.contents.get(member.content, member.content)
        return member._replace(content=content) if name.endswith(".bin") else member

    async def body(self, key: str) -> bytes:
        """Return the bytes of an object."""
        answer = await self.client.get_object(Bucket=BUCKET, Key=key)
        async with answer["Body"] as stream:
            return await stream.read()


@asynccontextmanager
async def open_archiver(
    client: object,
    *,
    parts_in_flight: int = 4,
    look_further_bytes: int = 64 * MIB,
    **archive: Any,  # noqa: ANN401 - any setting
) -> AsyncIterator[Archiver]:
    """Open an archiver on a client."""
    settings = Settings(
        archive=ArchiveSettings(memory_budget_bytes=128 * MIB, **archive),
        storage=StorageSettings(bucket=BUCKET, parts_in_flight=parts_in_flight),
    )
    store = Store(client, settings.storage)  # type: ignore[arg-type] # may be Tapped
    async with open_engine(settings.archive) as engine:
        budget = MemoryBudget(settings.archive.memory_budget_bytes)
        yield Archiver(
            engine=engine,
            budget=budget,
            store=store,
            settings=settings,
            look_further_bytes=look_further_bytes,
        )


both = pytest.mark.parametrize("server_name", ["seaweedfs", "ministack"])


@pytest.fixture
def server_name() -> str:
    """Return the server for tests that do not use `both`."""
    return "ministack"


@pytest.fixture
async def bench(
    request: pytest.FixtureRequest, server_name: str, tmp_path: Path
) -> AsyncIterator[Bench]:
    """Open repository, bucket and archiver for one test."""
    server: LocalServer = request.getfixturevalue(server_name)
    aws = AwsSettings(region=REGION, endpoint_url=server.endpoint_url)
    settings = Settings(aws=aws, storage=StorageSettings(addressing_style="path"))
    async with Aws(settings).open_s3(pool=10) as client, open_archiver(client) as archiver:
        try:
            await client.head_bucket(Bucket=BUCKET)
        except ClientError:
            await client.create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
        bench = Bench(tmp_path, client, archiver)
        await bench.reader.prepare()
        yield bench


def _how(result: Result) -> tuple[str, str]:
    return result.made.archive.kind, result.fallback


# --- kinds of archive -----------------------------------------------------------------------------


async def test_a_small_change_makes_a_delta(bench: Bench) -> None:
    """Changed members are read and sent, with stretches too short to copy; the rest is copied."""
    await bench.put(bench.begin())
    result, _ = await bench.put(bench.commit({"d3/f31": b"new", "d9/added": b"1", "d0/f00": None}))
    assert _how(result) == ("delta", "")
    archive = result.made.archive
    assert archive.copied_bytes > archive.size_bytes / 2
    assert archive.size_bytes == archive.copied_bytes + archive.sent_bytes
    assert result.made.files_read == 3  # with the new directory


async def test_every_kind_of_change_makes_a_delta(bench: Bench) -> None:
    """Modes alone, links, submodules, a file that becomes a directory and back."""
    await bench.put(bench.begin({"run": b"x", "place": b"file", "dir/file": b"1"}))
    steps = [
        b"M 100755 inline run\ndata 1\nx\n",
        b"M 120000 inline run\ndata 6\nd0/f00\n",
        b"M 160000 " + b"1" * 40 + b" module\n",
        b"M 160000 " + b"2" * 40 + b" module\n",
        b"D module\nM 100644 inline module\ndata 1\nm\n",
        b"D place\nM 100644 inline place/inside\ndata 1\ni\n",
        b"D dir/file\nM 100644 inline dir\ndata 1\nd\n",
        b"R d1 moved\n",
    ]
    for step in steps[:-1]:
        result, _ = await bench.put(bench.script(step))
        assert _how(result) == ("delta", "")


@both
@pytest.mark.parametrize("name", [b"..", b".git", b".GIT", b"git~1"])
async def test_a_tree_that_git_refuses_is_refused(bench: Bench, name: bytes) -> None:
    """A delta reads new entries itself: a path that leaves the tree is refused as by git."""
    begun = bench.begin()
    await bench.put(begun)
    git = bench.source.git
    blob = git("hash-object", "-w", "--stdin", stdin=b"hi").encode()
    above = git("mktree", "-z", stdin=b"100644 blob %s\tevil\0" % blob).encode()
    there = git("ls-tree", "-z", begun).encode()
    tree = git("mktree", "-z", stdin=there + b"040000 tree %s\t%s\0" % (above, name))
    commit = git("commit-tree", "-p", begun, "-m", "hostile", tree)
    with pytest.raises(StageError):
        await bench.put(commit)


async def test_a_chain_of_deltas_equals_gits_archives(bench: Bench) -> None:
    """Twelve random commits: always the tree of `git archive`, and never a dead byte."""
    chance = random.Random(7)  # noqa: S311 - the same in every run
    commit = bench.begin()
    kinds = []
    for number in range(12):
        result, _ = await bench.put(commit)
        kinds.append(result.made.archive.kind)
        names = [f"d{n % 7}/f{n:02}" for n in chance.sample(range(_FILES + 5), 3)]
        changes: dict[str, bytes | None] = {
            name: _noise(number, chance.randrange(300_000)) for name in names
        }
        changes[chance.choice(names)] = None if number % 3 else b""
        commit = bench.commit({**changes, f"new/{number}": b"%d" % number})
    assert kinds.count("delta") >= 8


@both
async def test_an_equal_tree_is_copied(bench: Bench) -> None:
    """Another commit or another ref of an equal tree: nothing is read, nothing is sent."""
    await bench.put(bench.begin())
    result, _ = await bench.put(bench.commit({}))
    assert (result.made.archive.kind, result.made.archive.sent_bytes) == ("copy", 0)
    other = ArchiveLineage(bench.origin.repository, "refs/heads/other")
    result, _ = await bench.put(bench.commit({}), origin=other)
    assert (result.made.archive.kind, result.made.archive.sent_bytes) == ("copy", 0)
    result, _ = await bench.put(bench.commit({"d1/f01": b"1"}), origin=other)
    assert _how(result) == ("delta", "")


async def test_sha256_repositories_have_deltas(bench: Bench, tmp_path: Path) -> None:
    """Longer ids are in the directory, and in git's arguments."""
    bench.source = SourceRepository(tmp_path / "sha256", object_format="sha256")
    await bench.put(bench.begin())
    result, _ = await bench.put(bench.commit({"d1/f01": b"1", "new/file": b"1"}))
    assert _how(result) == ("delta", "")


async def test_a_new_ref_uses_the_nearest_base(bench: Bench) -> None:
    """The ref with fewer changes is the base, although the other is newer."""
    near = bench.begin()
    far = bench.commit({f"d0/f{n:02}": b"far" for n in range(0, _FILES, 7)})
    refs = [
        ArchiveLineage(bench.origin.repository, f"refs/heads/{name}")
        for name in ("near", "far", "new")
    ]
    kept, _ = await bench.put(near, origin=refs[0])
    await bench.put(far, origin=refs[1])
    new = bench.source.commit({"d5/f05": b"new"}, branch="new", parent=near)
    result, _ = await bench.put(new, origin=refs[2])
    assert ("delta", kept.made.archive.key) == (result.made.archive.kind, result.base_key)


@both
async def test_a_ref_that_moved_far_uses_another_refs_base(bench: Bench) -> None:
    """After a reset or a merge the other ref's archive has more in common."""
    old = bench.begin()
    new = bench.commit({f"d{n % 7}/f{n:02}": _noise(100 + n) for n in range(_FILES)})
    mine = ArchiveLineage(bench.origin.repository, "refs/heads/mine")
    await bench.put(old, origin=mine)
    theirs, _ = await bench.put(new)
    next_ = bench.source.commit({"d1/f01": b"1"}, branch="mine", parent=new)
    result, _ = await bench.put(next_, origin=mine)
    assert _how(result) == ("full", "does-not-pay")  # too small to search further
    async with open_archiver(bench.client, look_further_bytes=1) as archiver:
        for commit, kind in ((new, "copy"), (next_, "delta")):
            await bench.put(old, origin=mine)
            result, _ = await bench.put(commit, origin=mine, archiver=archiver)
            assert (kind, theirs.made.archive.key) == (result.made.archive.kind, result.base_key)


@both
async def test_one_key_for_every_push_of_a_branch(bench: Bench) -> None:
    """The delta overwrites its own base."""
    await bench.put(bench.begin(), key=f"{bench.origin.repository.name}.zip")
    for number in range(3):
        commit = bench.commit({"d1/f01": b"%d" % number})
        result, _ = await bench.put(commit, key=f"{bench.origin.repository.name}.zip")
        assert _how(result) == ("delta", "")


@both
async def test_a_task_without_the_base_commit_makes_a_delta(bench: Bench) -> None:
    """Another task made the base: its commit is absent here, its table is read from the archive."""
    await bench.put(bench.begin({"link": b"x"}))
    for step in (
        b"M 120000 inline link\ndata 1\nx\n",
        b"M 100755 inline d2/f02\ndata 1\nx\nD d3\n",
    ):
        commit = bench.script(step)
        clone = bench.directory / commit
        url = f"file://{bench.source.path}"
        bench.source.git(
            "-c", "pack.window=0", "clone", "-q", "--bare", "--depth=1", url, str(clone)
        )
        result, _ = await bench.put(commit, path=clone)
        assert _how(result) == ("delta", "")


# --- entries that depend on more than their blobs -------------------------------------------------


@pytest.mark.parametrize(
    ("where", "before", "after"),
    [
        (".gitattributes", None, b"* eol=crlf\n"),
        ("sub/.gitattributes", b"*.txt eol=crlf\n", b"*.txt eol=lf\n"),
        (".gitattributes", b"*.txt ident\n", None),
        ("sub/.gitattributes", None, b"a.txt export-ignore\n"),
        (".gitattributes", b"*.txt working-tree-encoding=UTF-16\n", b"# nothing\n"),
    ],
)
async def test_changed_attributes_make_a_full_archive(
    bench: Bench, where: str, before: bytes | None, after: bytes | None
) -> None:
    """The blobs are equal, the entries are not: copies would be wrong."""
    files = {"a.txt": b"1\n$Id$\n", "sub/a.txt": b"2\n$Id$\n"}
    await bench.put(bench.begin({**files, **({where: before} if before else {})}))
    result, _ = await bench.put(bench.commit({where: after}))
    assert _how(result) == ("full", "attributes-changed")


async def test_entries_with_the_commits_id_are_always_read_again(bench: Bench) -> None:
    """`export-subst` writes the commit into unchanged entries, also where a macro sets it."""
    rules = b"[attr]stamp export-subst\n*.v stamp\nno.v -export-subst\n"
    files = {"a.v": b"$Format:%H$", "no.v": b"$Format:%H$", "sub/b.v": b"$Format:%T %ct$"}
    first, _ = await bench.put(bench.begin({".gitattributes": rules, **files}))
    for changes in ({"d1/f01": b"1"}, {"a.v": b"new $Format:%H$", "c.v": b"$Format:%H$"}, {}):
        commit = bench.commit(changes)
        result, body = await bench.put(commit)
        assert _how(result) == ("delta", "")
        assert commit.encode() in members_of_zip(body)["a.v"].content
    assert first.made.base.effect == "substitute"


async def test_converted_entries_are_copied(bench: Bench) -> None:
    """Line ends, `ident`, encodings: a function of blob and path while no rule changes."""
    rules = b"*.bat eol=crlf\n*.c ident\n*.u working-tree-encoding=UTF-16\n*.lfs filter=lfs\n"
    files = {
        f"{n}.{kind}": b"$Id$\n%d\n" % n for n in range(3) for kind in ("bat", "c", "u", "lfs")
    }
    await bench.put(bench.begin({".gitattributes": rules, **files}))
    for kind in ("bat", "c", "u", "lfs"):
        result, _ = await bench.put(
            bench.commit({f"1.{kind}": b"$Id$\nnew\n", f"n/9.{kind}": b"\n"})
        )
        assert _how(result) == ("delta", "")


async def test_ignored_entries_stay_absent(bench: Bench) -> None:
    """Changed, new and deleted files that no archive contains, and directories of nothing else."""
    rules = b"hidden export-ignore\n*.secret export-ignore\n.gitattributes export-ignore\n"
    files = {".gitattributes": rules, "hidden/a": b"1", "a.secret": b"1", "only/b.secret": b"1"}
    await bench.put(bench.begin(files))
    steps: list[_Tree] = [
        {"a.secret": b"2", "hidden/a": b"2"},
        {"new.secret": b"1", "hidden/deep/b": b"1", "also/only/c.secret": b"1"},
        {"a.secret": None, "only/b.secret": None, "d0/f00": b"1"},
        {"hidden/a": None, "hidden/deep/b": None, "d1/f01": None},
    ]
    for step in steps:
        result, _ = await bench.put(bench.commit(step))
        assert _how(result) == ("delta", "")


async def test_a_link_as_attributes_makes_a_full_archive(bench: Bench) -> None:
    """Git versions differ in how they read such a link, so such an archive is never a base."""
    bench.begin()
    await bench.put(bench.script(b"M 120000 inline .gitattributes\ndata 5\nrules\n"))
    result, _ = await bench.put(bench.commit({"d0/f00": b"1"}))
    assert _how(result) == ("full", "attributes-unknown")


# --- unexpected changes ---------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["deleted", "overwritten"])
async def test_a_changed_base_makes_a_full_archive(bench: Bench, change: str) -> None:
    """A lifecycle rule, or another writer: the archive is correct all the same."""
    first, _ = await bench.put(bench.begin())
    key = first.made.archive.key
    if change == "deleted":
        await bench.client.delete_object(Bucket=BUCKET, Key=key)
    else:
        await bench.client.put_object(Bucket=BUCKET, Key=key, Body=_noise(9, 15_000_000))
    result, _ = await bench.put(bench.commit({"d0/f00": b"1"}))
    assert _how(result) == ("full", "failed")
    result, _ = await bench.put(bench.commit({"d0/f00": b"2"}))
    assert _how(result) == ("delta", "")


@both
@pytest.mark.parametrize("change", ["deleted", "overwritten"])
@pytest.mark.parametrize(
    ("at", "number"),
    [
        ("create_multipart_upload", 1),
        ("upload_part_copy", 1),
        ("upload_part_copy", 2),
        ("get_object", 2),  # the first one reads the record
        ("complete_multipart_upload", 1),
    ],
)
async def test_a_base_that_changes_while_it_is_copied_is_detected(
    bench: Bench, at: str, number: int, change: str
) -> None:
    """Between plan and copy, between two copies, before members are read again, at the end."""
    first, _ = await bench.put(bench.begin())
    key, calls = first.made.archive.key, 0

    async def change_base(call: Call, parameters: dict[str, Any]) -> object:
        nonlocal calls
        calls += 1
        if calls == number and change == "deleted":
            await bench.client.delete_object(Bucket=BUCKET, Key=key)
        elif calls == number:
            await bench.client.put_object(Bucket=BUCKET, Key=key, Body=_noise(9, 15_000_000))
        return await call(**parameters)

    commit = bench.commit({f"d{n % 7}/f{n:02}": b"1" for n in (30, 54)})
    async with open_archiver(Tapped(bench.client, **{at: change_base}), parts_in_flight=1) as late:
        result, _ = await bench.put(commit, archiver=late, key=f"{key}/next.zip")
    assert calls >= number
    whole = at == "complete_multipart_upload"  # the base was not needed any more
    assert _how(result) == (("delta", "") if whole else ("full", "failed"))
    uploads = await bench.client.list_multipart_uploads(Bucket=BUCKET, Prefix=key)
    assert uploads.get("Uploads", []) == []


@both
@pytest.mark.parametrize("change", ["deleted", "overwritten"])
async def test_a_base_that_changes_before_it_is_copied_whole_is_detected(
    bench: Bench, change: str
) -> None:
    """An equal tree on another commit: CopyObject names the ETag, too."""
    first, _ = await bench.put(bench.begin())
    key = first.made.archive.key

    async def change_base(call: Call, parameters: dict[str, Any]) -> object:
        if change == "deleted":
            await bench.client.delete_object(Bucket=BUCKET, Key=key)
        else:
            await bench.client.put_object(Bucket=BUCKET, Key=key, Body=b"other")
        return await call(**parameters)

    async with open_archiver(Tapped(bench.client, copy_object=change_base)) as late:
        result, _ = await bench.put(bench.commit({}), archiver=late)
    assert _how(result) == ("full", "failed")


def _refuse_copies(how: str) -> Any:  # noqa: ANN401 - a tap
    async def copy(call: Call, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - any answer
        if how == "not implemented":
            raise refused("NotImplemented", status=501)
        answer: Any = await call(**parameters)
        result = "CopyPartResult" if "PartNumber" in parameters else "CopyObjectResult"
        if how == "no result":
            return {key: value for key, value in answer.items() if key != result}
        return {**answer, result: {}}

    return copy


@both
@pytest.mark.parametrize("how", ["not implemented", "no result", "empty result"])
@pytest.mark.parametrize("call", ["upload_part_copy", "copy_object"])
async def test_a_server_without_copies_gets_full_archives(
    bench: Bench, call: str, how: str
) -> None:
    """A server may refuse copies or omit their ETags: no push fails because of it."""
    await bench.put(bench.begin())
    changed = {"d3/f30": b"1"} if call == "upload_part_copy" else {}
    tapped = Tapped(bench.client, **{call: _refuse_copies(how)})
    async with open_archiver(tapped) as archiver:
        result, _ = await bench.put(bench.commit(changed), archiver=archiver)
    assert call in tapped.calls
    assert _how(result) == ("full", "failed")
    uploads = await bench.client.list_multipart_uploads(Bucket=BUCKET)
    assert uploads.get("Uploads", []) == []


@both
async def test_a_tagged_archive_is_copied_without_its_tags(bench: Bench) -> None:
    """Otherwise the copy would need the rights to read tags and to set them."""
    first, _ = await bench.put(bench.begin())
    await bench.client.put_object_tagging(
        Bucket=BUCKET,
        Key=first.made.archive.key,
        Tagging={"TagSet": [{"Key": "team", "Value": "web"}]},
    )
    result, _ = await bench.put(bench.commit({}))
    assert result.made.archive.kind == "copy"
    tags = await bench.client.get_object_tagging(Bucket=BUCKET, Key=result.made.archive.key)
    assert tags["TagSet"] == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "missing"])
async def test_a_damaged_table_is_read_from_the_archive(bench: Bench, damage: str) -> None:
    """The table on disk is checked before use."""
    await bench.put(bench.begin({"a": b"1"}))
    (path,) = (bench.source.path / "archive-tables").glob("*.table")
    content = path.read_bytes()
    await bench.put(bench.commit({"a": b"2", "b": b"2"}))
    (other,) = set((bench.source.path / "archive-tables").glob("*.table")) - {path}
    flipped = content[:500] + bytes([content[500] ^ 1]) + content[501:]
    other.unlink()
    if damage != "missing":
        other.write_bytes({"cut": content[:-9], "flipped": flipped, "other": content}[damage])
    result, _ = await bench.put(bench.commit({"d0/f00": b"1"}))
    expected = ("full", "table-mismatch") if damage == "other" else ("delta", "")
    assert expected == _how(result)


async def test_other_settings_make_a_full_archive(bench: Bench) -> None:
    """Archives of another level are never a base, and without deltas none is looked for."""
    await bench.put(bench.begin())
    async with open_archiver(bench.client, level=6) as archiver:
        result, _ = await bench.put(bench.commit({"d0/f00": b"1"}), archiver=archiver)
        assert _how(result) == ("full", "other-format")
    async with open_archiver(bench.client, delta="off") as archiver:
        result, _ = await bench.put(bench.commit({"d0/f00": b"2"}), archiver=archiver)
        assert _how(result) == ("full", "off")


async def test_small_archives_and_large_changes_are_made_in_full(bench: Bench) -> None:
    """No stretch is long enough to be copied."""
    await bench.put(bench.commit({"a": b"1"}))
    result, small = await bench.put(bench.commit({"a": b"2"}))
    assert _how(result) == ("full", "small")
    assert await _records(bench) == []
    result, large = await bench.put(bench.begin())
    assert _how(result) == ("full", "small")
    assert tuple(sum(map(_has_id, _infos(body))) for body in (small, large)) == (0, _FILES + 1)
    result, _ = await bench.put(bench.commit({f"d{n % 7}/f{n:02}": b"2" for n in range(0, 60, 3)}))
    assert _how(result) == ("full", "does-not-pay")


async def test_a_ref_whose_deltas_did_not_pay_is_not_planned_at_once(bench: Bench) -> None:
    """Planning comes after 1 push, then 3, then 7; records are not kept; a delta ends this."""
    await bench.put(bench.begin())

    async def scatter(number: int) -> str:
        files = {f"d{n % 7}/f{n:02}": b"%d" % number for n in range(0, 60, 3)}
        result, _ = await bench.put(bench.commit(files))
        return "asked" if _how(result) == ("full", "does-not-pay") else result.fallback

    asked, pause = "asked", "did-not-pay"
    found, records = [], []
    for number in range(7):
        found.append(await scatter(number))
        records.append(await _newest(bench))
    assert [asked, asked, pause, asked, pause, pause, pause] == found
    assert records[3] == records[4] == records[5]
    assert len(set(records)) == 5
    result, _ = await bench.put(bench.commit({}))
    assert _how(result) == ("copy", "")
    result, _ = await bench.put(bench.commit({"d1/f01": b"1"}))
    assert _how(result) == ("delta", "")
    assert ([asked, asked], pause) == ([await scatter(8), await scatter(9)], await scatter(10))


@both
async def test_another_task_looks_once_for_the_base_of_a_small_ref(bench: Bench) -> None:
    """The other task finds no record, and makes the same bytes: no id depends on the history."""
    commit = bench.commit({"a": b"1"})
    _, first = await bench.put(commit)
    async with open_archiver(bench.client) as other:
        result, second = await bench.put(commit, archiver=other)
    assert _how(result) == ("full", "no-base")
    assert first == second


@both
async def test_two_tasks_use_one_base_at_once(bench: Bench) -> None:
    """Both archive it under the same key: both archives are correct."""
    await bench.put(bench.begin())
    commits = [
        bench.source.commit({"d0/f00": name}, branch=name.decode(), parent=bench.source.tip("main"))
        for name in (b"one", b"two")
    ]
    results = []

    async def put(commit: str) -> None:
        results.append(_how((await bench.put(commit))[0]))

    async with anyio.create_task_group() as tasks:
        for commit in commits:
            tasks.start_soon(put, commit)
    assert results == [("delta", "")] * 2


async def test_an_unusable_record_is_not_a_base(bench: Bench) -> None:
    """Broken, of another version, or with impossible numbers: treated as absent."""
    result, _ = await bench.put(bench.begin())
    base = result.made.base
    assert base == parse_base(pack_base(base))
    for body in (b"", b"{}", b"[]", pack_base(base).replace(b'"version":1', b'"version":2')):
        assert parse_base(body) is None
    wrong = Base(**{**_fields(base), "size_bytes": 1})
    assert parse_base(pack_base(wrong)) is None
    (record,) = await _records(bench)
    await bench.client.put_object(Bucket=BUCKET, Key=record, Body=b"noise")
    result, _ = await bench.put(bench.commit({"d0/f00": b"1"}))
    assert _how(result) == ("full", "no-base")


async def _records(bench: Bench) -> list[str]:
    """Return keys of the records of the repository's archives."""
    about = f"base/{bench.origin.repository.path}/"
    pages = bench.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return [
        each["Key"]
        async for page in pages  # of all tests on this server
        for each in page.get("Contents", [])
        if about in each["Key"]
    ]


async def _newest(bench: Bench) -> bytes:
    """Return the record of the only ref."""
    (record,) = await _records(bench)
    answer = await bench.client.get_object(Bucket=BUCKET, Key=record)
    async with answer["Body"] as body:
        return await body.read()


def _infos(body: bytes) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(io.BytesIO(body)) as opened:
        return [each for each in opened.infolist() if not each.is_dir()]


def _has_id(info: zipfile.ZipInfo) -> bool:
    return b"GB\x14\x00" in info.extra


def _fields(base: Base) -> dict[str, Any]:
    return {name: getattr(base, name) for name in Base.__dataclass_fields__}


# --- by the command -------------------------------------------------------------------------------


async def test_the_command_makes_a_delta_of_a_named_archive(
    bench: Bench, ministack: "LocalServer"
) -> None:
    """`asyncbuild archive --base` rejects a base that cannot be used."""
    settings = Settings(
        aws=AwsSettings(region=REGION, endpoint_url=ministack.endpoint_url),
        storage=StorageSettings(addressing_style="path"),
    )
    source = str(bench.source.path)
    old, new = f"s3://{BUCKET}/{uuid.uuid4()}.zip", f"s3://{BUCKET}/{uuid.uuid4()}.zip"
    first = bench.begin({".gitattributes": b"*.bat eol=crlf\n", "a.bat": b"1\n"})
    second = bench.commit({"a.bat": b"2\n"})
    await export.run(settings, export.ArchiveRequest(source, first, old))
    await export.run(settings, export.ArchiveRequest(source, second, new, old))
    body = await bench.body(new.removeprefix(f"s3://{BUCKET}/"))
    assert members_of_commit(bench.source, second) == members_of_zip(body)
    times = {each.date_time for each in zipfile.ZipFile(io.BytesIO(body)).infolist()}
    assert len(times) == 2, "no entry was copied, or none was read"
    for base in (f"{old}.missing", "s3://elsewhere/old.zip", "old.zip"):
        with pytest.raises(Reject):
            await export.run(settings, export.ArchiveRequest(source, second, new, base))
    assert not (bench.source.path / "archive-tables").exists()


async def test_a_subtree_uses_the_archive_of_the_subtree_before(bench: Bench) -> None:
    """Outside changes do not count: the object is copied. Attributes above it do."""
    options = ArchiveOptions(subtree="app")
    app: _Tree = {f"app/{n % 7}/f{n:02}": _noise(n) for n in range(_FILES)}
    attributes = {"app/.gitattributes": b"*.no export-ignore\n", ".gitattributes": b"*.s -text\n"}
    first = bench.commit({**app, "other/x": b"1", **attributes})
    base, _ = await bench.put(first, options=options)
    changed = bench.commit({"app/3/f10": b"new", "app/4/a.no": b"not there", "other/x": b"2"})
    result, _ = await bench.put(changed, options=options)
    assert (_how(base), _how(result)) == (("full", "no-base"), ("delta", ""))
    outside = bench.commit({"other/x": b"3", "other/.gitattributes": b"* export-ignore\n"})
    result, _ = await bench.put(outside, options=options)
    assert _how(result) == ("copy", "")
    for rule in (b"*.no export-ignore\nf17 export-subst\n", None):
        above = bench.commit({".gitattributes": rule})
        result, _ = await bench.put(above, options=options)
        assert _how(result) == ("full", "attributes-changed")
    result, _ = await bench.put(bench.commit({"app/.gitattributes": None}), options=options)
    assert _how(result) == ("full", "attributes-changed")


async def test_archives_of_other_options_are_never_the_base(bench: Bench) -> None:
    """Found by its ref or named; the records of a ref exist side by side."""
    paths = ArchiveOptions(paths=("d1", "d2", "d3", "d4"))
    ignoring = ArchiveOptions(export_attributes=ExportAttributes.IGNORE)
    all_options = [WHOLE, paths, ignoring]
    first = bench.begin()
    for options in all_options:
        result, _ = await bench.put(first, options=options)
        assert _how(result) == ("full", "no-base")
    second = bench.commit({"d1/f01": b"new", "d3/f10": b"new"})
    made = [await bench.put(second, options=options) for options in all_options]
    assert [_how(result) for result, _ in made] == [("delta", ""), ("full", "paths"), ("delta", "")]
    key = made[0][0].made.archive.key
    for options in all_options[1:]:
        result, _ = await bench.put(first, options=options, base_key=key)
        assert _how(result) == ("full", "other-format")
    result, _ = await bench.put(first, options=paths)  # the last archive of these options
    assert _how(result) == ("copy", "")


async def test_the_paths_that_a_push_changed(bench: Bench) -> None:
    """Pathspecs decide, from the root; with an absent commit the answer is unknown."""
    first = bench.commit({"services/api/x": b"1", "services/web/x": b"1", "docs/x": b"1"})
    second = bench.commit({"services/api/x": b"2", "docs/x": b"2"})
    found = (await bench.reader.find(bench.source.path, [second], "test"))[second]
    snapshot = Snapshot(
        path=bench.source.path,
        commit=second,
        commit_time=found.time,
        tree=found.tree,
        name="test",
        reader=bench.reader,
    )
    changed = [("services/api",), ("services/web", "docs"), ("*/x",), (":!services",)]
    unchanged = [("services/web",), ("-x",), (":(glob)*/y",), (":!services/api", ":!docs")]
    asked = [*changed, *unchanged]
    assert unchanged == await snapshot.find_unchanged(first, asked)
    assert asked == await snapshot.find_unchanged(second, asked)
    assert await snapshot.find_unchanged("1" * 40, asked) == []


async def test_contents_of_lfs_files_are_copied_too(bench: Bench) -> None:
    """Pointers identify contents: only new ones are read, others need not be present."""
    options = ArchiveOptions(lfs=Lfs.CONTENT)
    kept, changed = bench.add_large(_noise(101, 3_000_000)), bench.add_large(b"first")
    more = {".gitattributes": b"*.bin filter=lfs -text\n", "kept.bin": kept, "changed.bin": changed}
    await bench.put(bench.begin(more), options=options)
    bench.lose_large(kept)
    commit = bench.commit({"changed.bin": bench.add_large(_noise(102)), "d0/f00": b"new"})
    result, _ = await bench.put(commit, options=options)
    assert _how(result) == ("delta", "")
    assert result.made.files_read == 2
    moved = {"kept.bin": None, "elsewhere/kept.bin": bench.add_large(_noise(101, 3_000_000))}
    result, _ = await bench.put(bench.commit(moved), options=options)
    assert _how(result) == ("delta", "")


async def test_pointers_are_never_the_base_of_contents(bench: Bench) -> None:
    """Contents are never the base of pointers either, nor where attributes above may differ."""
    options = ArchiveOptions(lfs=Lfs.CONTENT)
    more = {".gitattributes": b"*.bin filter=lfs -text\n", "app/a.bin": bench.add_large(b"large")}
    commit = bench.begin(more)
    _, pointers = await bench.put(commit, key="pointers.zip")
    result, contents = await bench.put(commit, options=options, key="contents.zip")
    assert _how(result) == ("full", "no-base")
    assert pointers != contents
    for wanted, key in ((options, "pointers.zip"), (WHOLE, "contents.zip")):
        result, _ = await bench.put(commit, options=wanted, base_key=key)
        assert _how(result) == ("full", "other-format")
    below = ArchiveOptions(subtree="app", lfs=Lfs.CONTENT)
    for _ in range(2):
        result, _ = await bench.put(commit, options=below)
        assert _how(result) == ("full", "lfs")


async def test_an_archive_that_was_there_is_no_base(bench: Bench) -> None:
    """Members may be in another order: a delta of it by our directory would be broken."""
    commit = bench.commit({f"f{n}": _noise(n, 1_000_000) for n in range(6)})
    there = {FINGERPRINT_KEY: "same"}
    await bench.client.put_object(Bucket=BUCKET, Key="there", Body=b"other bytes", Metadata=there)
    found = (await bench.reader.find(bench.source.path, [commit], "test"))[commit]
    snapshot = Snapshot(
        path=bench.source.path,
        commit=commit,
        commit_time=found.time,
        tree=found.tree,
        name="test",
        reader=bench.reader,
    )
    snapshot = await snapshot.select(WHOLE)
    order = Order(snapshot, "there", lambda: None, origin=bench.origin, metadata=there, reuse=True)
    result = await bench.archiver.put(order)
    assert result.made.archive.reused
    assert await bench.body("there") == b"other bytes"
    assert result.made.archive.size_bytes == len(b"other bytes")
    assert not list(bench.source.path.glob("archive-tables/*"))
    after, _ = await bench.put(bench.commit({"f0": b"new"}))
    assert (after.made.archive.kind, after.fallback) == ("full", "no-base")
