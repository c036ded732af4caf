"""Finder of a commit's files that are LFS pointers: those with `filter=lfs`, as git decides."""

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio

from asyncbuild.domain.archive_options import ExportAttributes, Lfs
from asyncbuild.domain.errors import Reject
from asyncbuild.git.content.lfs.contents import Contents
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.formats.lfs_pointers import POINTER_BYTES_MOST, Pointer, parse_pointer
from asyncbuild.git.formats.tree_lines import REGULAR_MODES, parse_entry
from asyncbuild.git.process.command import ProcessKind
from asyncbuild.git.snapshot import Snapshot

_CONFIG: Final = ".lfsconfig"
_CONFIG_BYTES_MOST: Final = 64 * 1024


async def with_large_files(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot whose archive has contents in place of pointers, if its options say so.

    Attributes count as in a checkout, also those above a subtree: whether a file is large does not
    depend on which part of the tree is archived.

    Raises:
        Reject: A pointer, or `.lfsconfig`, cannot be read here.
        GitFailed: The repository cannot be read.
    """
    options = snapshot.options
    if options.lfs is not Lfs.CONTENT or snapshot.objects is None:
        return snapshot
    files: dict[bytes, Pointer] = {}
    wanted: set[bytes] = set()
    async with _open_index(snapshot, snapshot.commit) as index:
        ids = await index.find_large()
        if ids:
            files = await _read_pointers(snapshot, ids)
            wanted = set(files)
        if files and options.paths:
            wanted &= await index.match(options.paths)
        if wanted and options.export_attributes is ExportAttributes.HONOUR:
            wanted -= await index.find_ignored(wanted)
    if not files:
        return snapshot
    url = await _read_url(snapshot)
    return replace(snapshot, contents=Contents(files, frozenset(wanted), snapshot.objects, url))


class _Index:
    """An index of a tree, against which git matches attributes and pathspecs."""

    def __init__(self, snapshot: Snapshot, directory: Path, subtree: str) -> None:
        self._snapshot = snapshot
        self._subtree = subtree
        directory = directory.resolve()  # the path as git resolves it
        self._top = directory / "tree"
        self._environment = {
            "GIT_INDEX_FILE": str(directory / "index"),
            "GIT_WORK_TREE": str(self._top),
        }

    async def read(self, tree: str) -> None:
        """Fill the index."""
        await anyio.Path(self._top / self._subtree).mkdir(parents=True)
        await self._run(self._top, "read-tree", tree)

    async def find_large(self) -> dict[bytes, str]:
        """Return object ids of all files with `filter=lfs`, by path in the subtree."""
        # Run at the top: in a directory below it git finds nothing by an attribute alone.
        answer = await self._run(self._top, "ls-files", "-z", "--stage", "--", ":(attr:filter=lfs)")
        above = os.fsencode(f"{self._subtree}/") if self._subtree else b""
        found = {}
        for line in answer.split(b"\0")[:-1]:
            facts, _, path = line.partition(b"\t")
            mode, name, _ = facts.split()
            if int(mode, 8) in REGULAR_MODES and path.startswith(above):
                found[path.removeprefix(above)] = name.decode()
        return found

    async def match(self, pathspecs: Sequence[str]) -> set[bytes]:
        """Return the paths that match, relative to the subtree, as the pathspecs are."""
        answer = await self._run(
            self._top / self._subtree, "ls-files", "-z", "--cached", "--", *pathspecs
        )
        return set(answer.split(b"\0")[:-1])

    async def find_ignored(self, paths: Iterable[bytes]) -> set[bytes]:
        """Return the paths that `export-ignore` leaves out, themselves or a directory above."""
        root = os.fsencode(f"{self._subtree}/") if self._subtree else b""
        above = {path: [root + path, *_parents(root + path)] for path in paths}
        asked = sorted({each for every in above.values() for each in every})
        answer = await self._run(
            self._top,
            *("check-attr", "--cached", "-z", "--stdin", "export-ignore"),
            stdin=b"".join(each + b"\0" for each in asked),
        )
        fields = answer.split(b"\0")
        marked = {
            path for path, value in zip(fields[:-1:3], fields[2::3], strict=True) if value == b"set"
        }
        return {path for path, every in above.items() if not marked.isdisjoint(every)}

    async def _run(self, place: Path, *arguments: str, stdin: bytes = b"") -> bytes:
        snapshot = self._snapshot
        return await snapshot.reader.run(
            snapshot.path,
            ("-C", str(place), *arguments),
            commit=snapshot.commit,
            doing=f"look for LFS files in {snapshot.name} {snapshot.commit}",
            environment=self._environment,
            work=ProcessKind.TREE,
            stdin=stdin,
        )


@asynccontextmanager
async def _open_index(snapshot: Snapshot, tree: str) -> AsyncIterator[_Index]:
    subtree = snapshot.options.subtree if tree == snapshot.commit else ""
    with TemporaryDirectory(prefix="asyncbuild-") as directory:
        index = _Index(snapshot, Path(directory), subtree)
        await index.read(tree)
        yield index


def _parents(path: bytes) -> list[bytes]:
    """Return every directory above; the slash at the end marks it as one for git."""
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) + b"/" for count in range(1, len(parts))]


async def _read_pointers(snapshot: Snapshot, ids: Mapping[bytes, str]) -> dict[bytes, Pointer]:
    """Return the pointers in the files, without files that were committed directly."""
    names = list(dict.fromkeys(ids.values()))
    small = await _small(snapshot, names)
    contents = await snapshot.read_blobs(small, most_bytes=len(small) * POINTER_BYTES_MOST)
    known = dict(zip(small, contents or (), strict=True))
    found = {}
    for path, name in ids.items():
        try:
            pointer = parse_pointer(known[name]) if name in known else None
        except Reject as error:
            raise Reject(
                f"LFS file {os.fsdecode(path)!a} of {snapshot.name}: {error.reason}",
                remedy=error.remedy,
            ) from error
        if pointer is not None:
            found[path] = pointer
    return found


async def _small(snapshot: Snapshot, names: Sequence[str]) -> list[str]:
    answer = await snapshot.reader.run(
        snapshot.path,
        ("cat-file", "--batch-check=%(objectsize)"),
        commit=snapshot.commit,
        doing=f"measure {len(names)} blobs of {snapshot.name}",
        stdin="\n".join((*names, "")).encode(),
    )
    sizes = answer.split(b"\n")[:-1]
    return [
        name
        for name, size in zip(names, sizes, strict=True)
        if size.isdigit() and int(size) <= POINTER_BYTES_MOST
    ]


async def _read_url(snapshot: Snapshot) -> str:
    """Return the server that the commit's `.lfsconfig` names; empty if it names none.

    Two settings may name it; the first one comes first for git-lfs, too. Nothing else in the file
    counts, since anybody who may push can write it.
    """
    doing = f"read {_CONFIG} of {snapshot.name} {snapshot.commit}"
    more: dict[str, Any] = {"commit": snapshot.commit, "doing": doing}
    arguments = ("ls-tree", "-z", "--full-tree", snapshot.commit, "--", _CONFIG)
    answer = await snapshot.reader.run(snapshot.path, arguments, **more)
    entry = parse_entry(answer.rstrip(b"\0")) if answer else None
    if entry is None or entry.mode not in REGULAR_MODES:
        return ""
    contents = await snapshot.read_blobs([entry.object_id], most_bytes=_CONFIG_BYTES_MOST)
    if contents is None:
        raise Reject(f"{_CONFIG} of {snapshot.name} {snapshot.commit} is too long")
    arguments = ("config", "--no-includes", "--file", "-", "--list", "-z")
    try:
        listing = await snapshot.reader.run(snapshot.path, arguments, stdin=contents[0], **more)
    except GitFailed as error:
        if error.fault is not GitFault.BAD_CONFIG:
            raise
        raise Reject(error.reason, remedy=f"correct {_CONFIG}") from error
    values = dict(line.partition(b"\n")[::2] for line in listing.split(b"\0")[:-1])
    named = values.get(b"lfs.url") or values.get(b"remote.origin.lfsurl", b"")
    return named.decode("utf-8", "replace")
