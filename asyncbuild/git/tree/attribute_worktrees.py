"""Working trees that hold nothing but `.gitattributes`, for archives that begin at once.

Given one, `git archive` need not read the whole tree before its first byte
(`git/formats/gitattributes.py`). The first archive of a repository is made without; then its tree
is examined, in the background. Later trees are compared with the last known one, by one git for all
that are asked for at a time: it reads only the differences.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from asyncbuild.domain.errors import StageError
from asyncbuild.git.formats.extent import sum_up
from asyncbuild.git.formats.gitattributes import (
    TreeListing,
    are_readable,
    digest_of,
    parse_alike,
)
from asyncbuild.git.formats.process_kinds import ProcessKind
from asyncbuild.git.mirrors.directory import MirrorDirectory
from asyncbuild.git.mirrors.disk_space import delete
from asyncbuild.git.mirrors.mirror_locks import open_for_use
from asyncbuild.git.reader import Reader
from asyncbuild.git.tree.worktree import AttributeFiles, Worktree, write_worktree
from asyncbuild.runtime.batching import Batcher
from asyncbuild.runtime.recent import Recent

_TREES_MOST: Final = 10_000  # remembered
_WORKTREES_MOST: Final = 1_000  # on the disk; repositories without attributes share one
_WORTH_PATHS: Final = 4_000
_FILES_MOST: Final = 1_000
_FILES_BYTES_MOST: Final = 1024 * 1024
_COMPARISON_BYTES_MOST: Final = 1024 * 1024
_TRUSTED_SECONDS: Final = 1.0
_NOT_AGAIN: Final = 100  # pushes to skip in a repository in which one tree was unusable


class CommitTree(NamedTuple):
    """Whole tree of a commit, and the ref whose trees are most similar to it."""

    repository: Path
    id: str
    ref: str


_Pair = tuple[str, str]  # ids of a known tree and of another


class Worktrees:
    """Lends working trees.

    Args:
        reader: Reads mirrors.
        directory: Directory of the working trees, used by no other process.
        tasks: Owns the background work.
        least_paths: Trees with fewer paths are faster read than compared.
        trusted_seconds: How long files are assumed to be there after they were seen.
    """

    def __init__(
        self,
        reader: Reader,
        directory: Path,
        tasks: TaskGroup,
        *,
        least_paths: int = _WORTH_PATHS,
        trusted_seconds: float = _TRUSTED_SECONDS,
    ) -> None:
        self._reader = reader
        self._directory = directory
        self._tasks = tasks
        self._least_paths = least_paths
        self._trusted_seconds = trusted_seconds
        self._digests: Recent[str, str] = Recent(_TREES_MOST)  # by id of the tree
        self._near: Recent[tuple[Path, str], str] = Recent(_TREES_MOST)
        self._worktrees: OrderedDict[str, Worktree] = OrderedDict()
        self._comparing: dict[Path, Batcher[_Pair, bool]] = {}
        self._not_again: dict[Path, int] = {}
        self._learning: set[Path] = set()
        self._one_at_a_time = anyio.Lock()
        self._numbers = count()

    @property
    def is_learning(self) -> bool:
        """Return whether a tree is being examined."""
        return bool(self._learning)

    def converts_nothing(self, tree: str) -> bool:
        """Return whether it is known that no attribute of a tree converts or substitutes anything.

        Args:
            tree: Id of the whole tree of a commit.
        """
        worktree = self._worktrees.get(self._digests.get(tree, ""))
        return worktree is not None and not worktree.converts

    @asynccontextmanager
    async def open(self, tree: CommitTree) -> AsyncIterator[AttributeFiles | None]:
        """Lend a working tree with a tree's attributes, or None if there is none (yet)."""
        worktree = await self._find(tree)
        if worktree is not None:
            worktree.users += 1
            try:
                if await worktree.is_whole(self._trusted_seconds):
                    yield AttributeFiles(worktree.path, worktree.converts)
                    return
            finally:
                worktree.users -= 1
            self._worktrees.pop(worktree.digest, None)
        yield None
        self._learn_soon(tree)  # only now: earlier it would slow down this archive

    async def _find(self, tree: CommitTree) -> Worktree | None:
        if tree.id not in self._digests:
            near = self._near.get((tree.repository, tree.ref)) or self._near.get(
                (tree.repository, "")
            )
            if near is not None:
                await self._compare(tree, near)
        digest = self._digests.get(tree.id, "")
        worktree = self._worktrees.get(digest)
        if worktree is not None:
            self._note(tree, digest)
        return worktree

    # --- known by a similar tree -----------------------------------------------------------------

    async def _compare(self, tree: CommitTree, near: str) -> None:
        for repository in [each for each, asking in self._comparing.items() if asking.idle]:
            del self._comparing[repository]
        if tree.repository not in self._comparing:
            self._comparing[tree.repository] = Batcher(partial(self._ask, tree.repository))
        try:
            alike = await self._comparing[tree.repository].get((near, tree.id))
        except StageError:
            return  # the archive will meet and report the same error
        digest = self._digests.get(near)
        if alike and digest:
            self._digests[tree.id] = digest

    async def _ask(self, repository: Path, pairs: Sequence[_Pair]) -> dict[_Pair, bool]:
        answer = b""
        async with self._reader.open_stream(
            repository,
            ("diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames"),
            commit=pairs[0][0],
            doing=f"compare trees of {repository}",
            work=ProcessKind.LOOK_UP,
            stdin="".join(f"{near} {tree}\n" for near, tree in pairs).encode(),
        ) as stdout:
            async for chunk in stdout:
                answer += chunk
                if len(answer) > _COMPARISON_BYTES_MOST:
                    return {}
        return dict.fromkeys(parse_alike(answer, pairs), True)

    # --- examined --------------------------------------------------------------------------------

    def _learn_soon(self, tree: CommitTree) -> None:
        left = self._not_again.get(tree.repository, 0)
        if left:
            self._not_again[tree.repository] = left - 1
        elif tree.repository not in self._learning:
            self._learning.add(tree.repository)
            self._tasks.start_soon(self._learn, tree)

    async def learn_early(self, tree: CommitTree, there: Path) -> None:
        """Examine a tree where it can be read already, before it is asked for."""
        if tree.repository not in self._learning:
            self._learning.add(tree.repository)
            try:
                await self._look_through(tree, there, ProcessKind.LOOK_UP)
            finally:
                self._learning.discard(tree.repository)

    async def _learn(self, tree: CommitTree) -> None:
        try:
            async with (
                self._one_at_a_time,
                open_for_use(MirrorDirectory(tree.repository.parent), f"read {tree.repository}"),
            ):
                await self._look_through(tree, tree.repository, ProcessKind.UPKEEP)
        except StageError:
            pass
        finally:
            self._learning.discard(tree.repository)

    async def _look_through(self, tree: CommitTree, there: Path, work: ProcessKind) -> None:
        """Examine a tree; a failure does not matter, since archives can be made without."""
        try:
            # A mirror that is being made is moved, and may be deleted: no git stays for it.
            reader = self._reader if there == tree.repository else self._reader.alone()
            files = await _read_files(
                reader, tree.id, there, work=work, least_paths=self._least_paths
            )
            if files is None:
                self._not_again[tree.repository] = _NOT_AGAIN
            else:
                self._note(tree, await self._make(files))
        except StageError:
            pass
        except OSError:
            self._not_again[tree.repository] = _NOT_AGAIN

    async def _make(self, files: Mapping[bytes, bytes]) -> str:
        """Write the files, unless they are there; return their digest."""
        digest = digest_of(files)
        if digest not in self._worktrees:
            path = self._directory / str(next(self._numbers))
            self._worktrees[digest] = await to_thread.run_sync(
                partial(write_worktree, digest, path, files)
            )
            await self._make_room()
        return digest

    async def _make_room(self) -> None:
        unused = [digest for digest, each in self._worktrees.items() if not each.users]
        for digest in unused[: max(0, len(self._worktrees) - _WORKTREES_MOST)]:
            gone = self._worktrees.pop(digest)
            await to_thread.run_sync(delete, gone.path)

    # --- remembered ------------------------------------------------------------------------------

    def _note(self, tree: CommitTree, digest: str) -> None:
        """Record a tree as the one that the next trees of its ref, and of new refs, resemble."""
        self._digests[tree.id] = digest
        if digest in self._worktrees:
            self._worktrees.move_to_end(digest)
        for ref in (tree.ref, ""):
            near = (tree.repository, ref)
            self._near[near] = tree.id


async def _read_files(
    reader: Reader, tree: str, there: Path, *, work: ProcessKind, least_paths: int
) -> dict[bytes, bytes] | None:
    """Return all `.gitattributes` of a tree by path; None if they cannot be used as files.

    Args:
        reader: Reads the repository.
        tree: Id of the tree.
        there: Directory of the repository.
        work: Purpose of the process.
        least_paths: Trees with fewer paths are not worth it.

    Raises:
        StageError: The repository cannot be read.
    """
    summary = await reader.summarise(there, tree)
    if summary is not None and summary.files < least_paths:
        return None
    listing = TreeListing()
    async with reader.open_stream(
        there,
        ("ls-tree", "-r", "-z", "--full-tree", tree),
        commit=tree,
        doing=f"look for attributes in {there}",
        work=work,
    ) as stdout:
        async for chunk in stdout:
            listing.feed(chunk)
            if not listing.usable or len(listing.files) > _FILES_MOST:
                return None
    most = reader.most
    if not least_paths <= listing.paths <= most.entries_most:
        return None
    blobs = list(dict.fromkeys(listing.files.values()))
    contents = await reader.read_blobs(
        there,
        blobs,
        most_bytes=_FILES_BYTES_MOST,
        doing=f"read attributes of {there}",
    )
    if contents is None or not are_readable(contents):
        return None
    if sum_up(contents).patterns > most.attribute_patterns_most:
        return None
    by_blob = dict(zip(blobs, contents, strict=True))
    files = {path: by_blob[blob] for path, blob in listing.files.items()}
    return files if sum(map(len, files.values())) <= _FILES_BYTES_MOST else None
