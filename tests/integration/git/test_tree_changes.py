"""Changes reported by a snapshot, and blobs as tar: the same members as in `git archive`."""

import io
import tarfile
from pathlib import Path

import pytest
from support.mirrors import Site, open_site, read_archive, repository

from asyncbuild.git.formats.error_classes import GitFailed
from asyncbuild.git.formats.tree_lines import TreeEntry
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.git.tree.changes import NoSuchTree

_LONG = "deep/" * 40 + "file"


def _files() -> dict[str, bytes | None]:
    files: dict[str, bytes | None] = {f"many/{n}.txt": b"%d\n" % n * (n % 50) for n in range(600)}
    files |= {_LONG: b"long", "ü.txt": b"umlaut", "large.bin": bytes(3_000_001), "empty": b""}
    return files


async def _members(tar: bytes) -> dict[str, tuple[bytes, int, int, bytes, str]]:
    with tarfile.open(fileobj=io.BytesIO(tar), encoding="utf-8") as opened:
        return {
            each.name: (
                each.type,
                each.mode,
                int(each.mtime),
                found.read() if each.isfile() and (found := opened.extractfile(each)) else b"",
                each.linkname,
            )
            for each in opened
        }


async def _blobs(snapshot: Snapshot, entries: list[TreeEntry]) -> bytes:
    async with snapshot.open_blobs(entries) as tar:
        return b"".join([chunk async for chunk in tar])


def _add_special(site: Site) -> str:
    """Return a commit of a program, two links (one long) and a submodule."""
    stream = b"commit refs/heads/main\ncommitter C <c@e> 1700000500 +0000\ndata 0\n"
    stream += b"from refs/heads/main^0\n"
    stream += b"M 100755 inline run.sh\ndata 2\nhi\n"
    stream += b"M 120000 inline link\ndata 6\nrun.sh\n"
    stream += b"M 120000 inline longlink\ndata 150\n" + b"x" * 150 + b"\n"
    stream += b"M 160000 " + b"1" * 40 + b" module\n"
    site.source.git("fast-import", "--quiet", stdin=stream)
    return site.source.tip("main") or ""


async def test_blobs_make_the_tar_of_git_archive(tmp_path: Path) -> None:
    """Every kind of entry: names, modes, times, contents and targets are equal."""
    async with open_site(tmp_path) as site, site.open_mirrors() as mirrors:
        site.source.commit(_files())
        commit = _add_special(site)
        async with mirrors.open(repository(), ref="refs/heads/main", commit=commit) as snapshot:
            entries = [entry async for batch in snapshot.iter_tree() for entry in batch]
            made = await _members(await _blobs(snapshot, entries))
            assert await _members(await read_archive(snapshot)) == made
            assert len(made) > 610


async def test_a_missing_blob_is_an_error(tmp_path: Path) -> None:
    """The archive is never shorter."""
    async with open_site(tmp_path) as site, site.open_mirrors() as mirrors:
        commit = site.source.commit({"a": b"a"})
        async with mirrors.open(repository(), ref="refs/heads/main", commit=commit) as snapshot:
            entries = [TreeEntry(0o100644, "blob", "1" * 40, b"a")]
            with pytest.raises(GitFailed):
                await _blobs(snapshot, entries)


async def test_changes_have_the_old_and_the_new_entry(tmp_path: Path) -> None:
    """Added, changed, deleted, become a directory, become executable: and nothing else."""
    async with open_site(tmp_path) as site, site.open_mirrors(depth=0) as mirrors:
        old = site.source.commit({"a": b"1", "b": b"1", "c/d": b"1", "e": b"1", "same/x": b"1"})
        site.source.commit({"a": b"2", "b": None, "c/d": None, "e": None})
        new = site.source.commit({"e/f": b"1", "g": b"1"})
        async with mirrors.open(repository(), ref="refs/heads/main", commit=new) as snapshot:
            tree = site.source.git("rev-parse", f"{old}^{{tree}}")
            changes = [each async for batch in snapshot.iter_changes(tree) for each in batch]
            assert [each async for each in snapshot.iter_changes(snapshot.tree)] == []
        kinds = {
            (each.old.path if each.old else each.new.path if each.new else b""): (
                each.old.kind if each.old else None,
                each.new.kind if each.new else None,
            )
            for each in changes
            if (each.old or each.new or TreeEntry(0, "", "", b"e")).path != b"e"
        }
        assert kinds == {
            b"a": ("blob", "blob"),
            b"b": ("blob", None),
            b"c": ("tree", None),
            b"c/d": ("blob", None),
            b"e/f": (None, "blob"),
            b"g": (None, "blob"),
        }


async def test_an_absent_tree_is_not_equal(tmp_path: Path) -> None:
    """Commits, files, and text that git would print unchanged are not equal either."""
    async with open_site(tmp_path) as site, site.open_mirrors() as mirrors:
        commit = site.source.commit({"a": b"1"})
        blob = site.source.git("rev-parse", f"{commit}:a")
        async with mirrors.open(repository(), ref="refs/heads/main", commit=commit) as snapshot:
            upper = snapshot.tree.upper()
            for name in ("1" * 40, commit, blob, "x" * 40, "1" * 64, "", "\n" * 40, upper):
                with pytest.raises(NoSuchTree):
                    assert not [each async for each in snapshot.iter_changes(name)]


async def test_an_attribute_is_found_as_git_finds_it(tmp_path: Path) -> None:
    """Directories, negation, macros and later lines count as in git's own matching."""
    async with open_site(tmp_path) as site, site.open_mirrors() as mirrors:
        rules = b"[attr]stamped export-subst\n*.v stamped\nno.v -export-subst\nx/** export-subst\n"
        commit = site.source.commit(
            {".gitattributes": rules, "y/.gitattributes": b"z export-subst\n", "y/z": b"z"}
        )
        paths = [b"a.v", b"no.v", b"x/a/b", b"y/z", b"z", b"y/other"]
        async with mirrors.open(repository(), ref="refs/heads/main", commit=commit) as snapshot:
            files = {
                entry.path: entry.object_id
                async for batch in snapshot.iter_tree()
                for entry in batch
                if entry.path.endswith(b".gitattributes")
            }
            found = await snapshot.find_attribute("export-subst", files, paths)
            assert {b"a.v", b"x/a/b", b"y/z"} == found
            contents = await snapshot.read_blobs(list(files.values()), most_bytes=1_000)
            assert [rules, b"z export-subst\n"] == contents
            assert await snapshot.read_blobs(list(files.values()), most_bytes=10) is None
