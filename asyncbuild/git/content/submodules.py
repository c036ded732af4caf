"""Submodules of a snapshot: each is a repository of its own, fetched and held like any other.

`.gitmodules` decides only which repository is meant, and that one must be known to this service: it
is fetched by its configured URL, with its usual credentials and limits.
"""

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncbuild.domain.archive_options import Lfs, Submodules
from asyncbuild.domain.errors import Reject, Retry, StageError, Unreachable
from asyncbuild.domain.git_names import object_format
from asyncbuild.domain.repository import Repository
from asyncbuild.forges.addresses import Submodule, parse_gitmodules, resolve, show_url
from asyncbuild.git.content.lfs.files import with_large_files
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.formats.tree_lines import REGULAR_MODES, parse_entry
from asyncbuild.git.process.command import ProcessKind
from asyncbuild.git.snapshot import Snapshot, SubmodulePart
from asyncbuild.zip.format.tar_units import directories_of

if TYPE_CHECKING:
    from asyncbuild.git.mirrors.cache import MirrorCache

_MOST: Final = 200  # in one archive, nested ones included
_DEPTH_MOST: Final = 10
_PATH_BYTES_MOST: Final = 4_096
_GITMODULES_BYTES_MOST: Final = 1024 * 1024
_GITLINK: Final = b"160000 commit "
_EMPTY_TREES: Final = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
_LEAVE_OUT: Final = 'exclude it with `paths`, or set submodules = "empty"'


class _Link(NamedTuple):
    """A submodule's entry in a tree; `path` is relative to the archive's root."""

    path: bytes
    commit: str


@dataclass(frozen=True, slots=True)
class _Parent:
    """A repository with submodules, and its place in the archive: `above` ends in a slash."""

    repository: Repository
    snapshot: Snapshot
    above: bytes = b""
    depth: int = 0


@asynccontextmanager
async def open_whole(
    mirrors: "MirrorCache | None", repository: Repository, snapshot: Snapshot
) -> AsyncIterator[Snapshot]:
    """Open a snapshot with everything that its options include from elsewhere.

    That is the contents of LFS files, and submodules, with their LFS files. If there are none of
    these, the yielded snapshot has options without them, because the archive is the same.

    Args:
        mirrors: The mirrors; None if the options include no submodules.
        repository: Repository of the snapshot.
        snapshot: The commit.

    Raises:
        Reject: A submodule is not named in `.gitmodules`, or is not a repository of this service.
        Retry: Its commit is not there (yet).
        StageError: As `MirrorCache.open`.
    """
    options = snapshot.options
    async with AsyncExitStack() as stack:
        parts: list[SubmodulePart] = []
        if mirrors is not None and options.submodules is Submodules.INCLUDE:
            opening = _Opening(mirrors, stack)
            await opening.add(_Parent(repository, snapshot))
            parts = opening.parts
        whole = replace(await with_large_files(snapshot), parts=tuple(parts))
        if not whole.parts:
            options = replace(options, submodules=Submodules.EMPTY)
        if not any(each.contents for each in (whole, *(part.snapshot for part in whole.parts))):
            options = replace(options, lfs=Lfs.POINTERS)
        yield replace(whole, options=options)


class _Opening:
    """Opens the submodules of one snapshot, each before its own submodules."""

    def __init__(self, mirrors: "MirrorCache", stack: AsyncExitStack) -> None:
        self._mirrors = mirrors
        self._stack = stack
        self.parts: list[SubmodulePart] = []

    async def add(self, parent: _Parent) -> None:
        """Open all submodules below a repository.

        Raises:
            Reject: There are too many, or one cannot be included.
        """
        snapshot = parent.snapshot
        links = await _find_links(snapshot)
        if not links:
            return
        if parent.depth == _DEPTH_MOST:
            raise _too_many(snapshot)
        known = await _read_gitmodules(snapshot)
        for link in links:
            with _about(parent.above + link.path, snapshot):
                await self._add(parent, link, known)

    async def _add(self, parent: _Parent, link: _Link, known: Mapping[bytes, Submodule]) -> None:
        snapshot = parent.snapshot
        full = os.fsencode(snapshot.options.subtree) + b"/" + link.path
        named = known.get(full.lstrip(b"/"))
        if named is None or not named.url:
            raise Reject(
                "no usable section of .gitmodules has this path and a url",
                remedy=f"name it there, {_LEAVE_OUT}",
            )
        if named.update == "none":  # git-submodule(1): it stays empty
            return
        if len(self.parts) == _MOST:
            raise _too_many(snapshot)
        repository = self._locate(parent.repository, named.url)
        opened = self._mirrors.open_commit(repository, link.commit)
        whole = await self._stack.enter_async_context(opened)
        wanted = replace(snapshot.options, subtree="", paths=(), submodules=Submodules.EMPTY)
        whole = await with_large_files(await whole.select(wanted))
        prefix = parent.above + link.path + b"/"
        self.parts.append(SubmodulePart(prefix, whole))
        await self.add(_Parent(repository, whole, prefix, parent.depth + 1))

    def _locate(self, parent: Repository, url: str) -> Repository:
        try:
            absolute = resolve(self._mirrors.remotes.remote(parent).url, url)
        except ValueError as error:
            raise Reject(
                f"its url {show_url(url)} {error}", remedy="correct .gitmodules"
            ) from error
        return self._mirrors.remotes.find(absolute, parent)


@contextmanager
def _about(path: bytes, snapshot: Snapshot) -> Iterator[None]:
    """Name the submodule in errors, once; retry a missing commit, which may be pushed later."""
    try:
        yield
    except StageError as error:
        if error.reason.startswith("submodule "):
            raise
        error.reason = f"submodule {os.fsdecode(path)!a} of {snapshot.name}: {error.reason}"
        if not isinstance(error, Unreachable):
            raise
        raise Retry(
            error.reason, remedy="push the submodule's commit to a branch of its repository"
        ) from error


def _too_many(snapshot: Snapshot) -> Reject:
    return Reject(
        f"{snapshot.name} {snapshot.commit} has more than {_MOST} submodules, or they are nested "
        f"more than {_DEPTH_MOST} deep",
        remedy='set submodules = "empty" for it, and let the build fetch them',
    )


def _check_path(path: bytes) -> None:
    """Reject a path that leaves the tree; unchecked trees may name anything.

    See git-fsck(1), hasDotdot and others.
    """
    parts = path.lower().split(b"/")
    if len(path) > _PATH_BYTES_MOST or {b"", b".", b"..", b".git"} & set(parts):
        raise Reject("its path leads out of the tree, or is too long", remedy=_LEAVE_OUT)


async def _find_links(snapshot: Snapshot) -> list[_Link]:
    """Return the submodules in a snapshot's archive, in order.

    `export-ignore` may leave out some.
    """
    links = await _list_links(snapshot)
    if not links:
        return []
    if len(links) > _MOST:
        raise _too_many(snapshot)
    for each in links:
        with _about(each.path, snapshot):
            _check_path(each.path)
    async with snapshot.open_archive(paths=[each.path for each in links]) as chunks:
        tar = b"".join([chunk async for chunk in chunks])
    written = directories_of(tar)
    return [each for each in links if snapshot.above + each.path in written]


async def _list_links(snapshot: Snapshot) -> list[_Link]:
    """Return the submodules in the tree, or those that the pathspecs match."""
    paths = snapshot.options.paths
    if not paths:
        async with aclosing(snapshot.iter_lines()) as batches:
            return [
                _Link(entry.path, entry.object_id)
                async for batch in batches
                for entry in map(parse_entry, _links(batch))
            ]
    empty = _EMPTY_TREES[object_format(snapshot.commit)]
    async with aclosing(snapshot.iter_changes(empty, paths)) as changes:
        return [
            _Link(new.path, new.object_id)
            async for batch in changes
            for _, new in batch
            if new is not None and new.kind == "commit"
        ]


def _links(lines: Sequence[bytes]) -> Iterator[bytes]:
    return (line for line in lines if line.startswith(_GITLINK))


async def _read_gitmodules(snapshot: Snapshot) -> dict[bytes, Submodule]:
    """Return the submodules in `.gitmodules` at the commit's root, also for a subtree.

    Raises:
        Reject: It is malformed, too long, or not a file.
    """
    doing = f"read .gitmodules of {snapshot.name} {snapshot.commit}"
    arguments = ("ls-tree", "-z", "--full-tree", snapshot.commit, "--", ".gitmodules")
    answer = await snapshot.reader.run(
        snapshot.path, arguments, commit=snapshot.commit, doing=doing, work=ProcessKind.TREE
    )
    if not answer:
        return {}
    entry = parse_entry(answer.rstrip(b"\0"))
    contents = None
    if entry.mode in REGULAR_MODES:  # as for git: a link could lead anywhere
        contents = await snapshot.read_blobs([entry.object_id], most_bytes=_GITMODULES_BYTES_MOST)
    if contents is None:
        raise Reject(
            f".gitmodules of {snapshot.name} {snapshot.commit} is not a file, or longer than "
            f"{_GITMODULES_BYTES_MOST} bytes",
            remedy="correct it",
        )
    # Without --no-includes `include.path` would make git read files of this machine.
    arguments = ("config", "--no-includes", "--file", "-", "--list", "-z")
    try:
        listing = await snapshot.reader.run(
            snapshot.path, arguments, commit=snapshot.commit, doing=doing, stdin=contents[0]
        )
    except GitFailed as error:
        if error.fault is not GitFault.BAD_CONFIG:
            raise
        raise Reject(error.reason, remedy="correct .gitmodules") from error
    return parse_gitmodules(listing)
