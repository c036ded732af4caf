"""Commit that is present, and the archive of its tree as a stream of tar.

All paths and trees of a snapshot are those of its *subtree*, if it has one: the subtree is the root
then, and nothing above it counts.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from asyncbuild.domain.archive_options import ArchiveOptions, ExportAttributes, place_pathspecs
from asyncbuild.domain.errors import Reject
from asyncbuild.git.content.lfs.contents import Contents, Objects
from asyncbuild.git.content.tar_concat import iter_joined
from asyncbuild.git.formats.tree_lines import TreeEntry
from asyncbuild.git.process.memory import STREAMED
from asyncbuild.git.tree.attribute_worktrees import CommitTree, Worktrees
from asyncbuild.git.tree.blobs import no_blobs, write_tar
from asyncbuild.git.tree.check_attr import is_left_out
from asyncbuild.git.tree.stored_tree import StoredTree
from asyncbuild.git.tree.weight import Need, measure, weigh
from asyncbuild.git.tree.worktree import AttributeFiles

PATHS_BYTES_MOST = 1024 * 1024  # Linux gives arguments and environment 2 MiB together


class SubmodulePart(NamedTuple):
    """A submodule, whose files are below `prefix` in an archive; it ends in a slash."""

    prefix: bytes
    snapshot: "Snapshot"


@dataclass(frozen=True, slots=True)
class Snapshot(StoredTree):
    """A commit that is present and stays so as long as its owner's `async with` lasts.

    Attributes:
        parts: Submodules whose trees are in the archive, too.
        ref: Ref that was pushed, if that is known.
        worktrees: Working trees that let an archive begin at once; None for a temporary repository.
        objects: Store of the contents of its LFS files, if there is one.
        contents: LFS contents that replace pointers in the archive.
        need: Memory that its archive takes in git, if it was measured.
    """

    parts: tuple[SubmodulePart, ...] = ()
    ref: str = ""
    worktrees: Worktrees | None = None
    objects: Objects | None = None
    contents: Contents | None = None
    need: Need | None = None

    async def measured(self) -> "Snapshot":
        """Return a copy with the memory that its archive and those of its parts take, measured.

        Raises:
            Reject: One takes more than git may have.
            GitFailed: The repository cannot be read.
        """
        name = f"archive {self.name} {self.commit}"
        tree = self.root or self.tree
        need = await measure(self.reader, self.path, tree, name, self.reader.memory)
        parts = [SubmodulePart(prefix, await each.measured()) for prefix, each in self.parts]
        return replace(self, need=need, parts=tuple(parts))

    @property
    def _memory_bytes(self) -> int:
        return self.need.memory_bytes if self.need else 0

    async def select(self, options: ArchiveOptions) -> "Snapshot":
        """Return a copy for archives with these options.

        Raises:
            Reject: It has no such subtree, or `export-ignore` leaves that out.
            GitFailed: The repository cannot be read.
        """
        reader = self.reader
        if options.export_attributes is ExportAttributes.IGNORE:
            reader = reader.without_exports()
        tree: str | None = self.tree
        if options.subtree:
            doing = f"look for {options.subtree} in {self.name} {self.commit}"
            tree = await reader.find_tree(self.path, self.commit, options.subtree, doing)
        if tree is None:
            raise Reject(
                f"{self.name} {self.commit} has no directory {options.subtree!a}",
                remedy="correct subtree, or let the rule match only refs that have it",
            )
        found = replace(self, tree=tree, reader=reader, options=options)
        if not options.subtree:
            return found
        above = await found.read_attributes_above(self.commit)
        found = replace(found, root=self.root or self.tree, attributes_above=above)
        if options.export_attributes is ExportAttributes.HONOUR and await is_left_out(
            self.asking("export-ignore"), above, options.subtree
        ):
            raise Reject(
                f"export-ignore in {self.name} {self.commit} leaves out {options.subtree!a}",
                remedy='set export_attributes = "ignore" for it, or correct .gitattributes',
            )
        return found

    @asynccontextmanager
    async def open_archive(
        self, *, paths: Sequence[bytes] = ()
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Run `git archive --format=tar` and yield its output in chunks of at most 1 MiB.

        Nothing is read ahead. With `parts` one tar follows another, each made in its turn.

        Args:
            paths: Only these, taken literally; at most `PATHS_BYTES_MOST` bytes in all. Every path
                must be in the tree; a directory includes all entries in it. Empty: the paths of the
                options.

        Raises:
            GitFailed: From the iterator, after the last chunk, if git failed: nothing of what was
                read may be used then.
            Reject: From the iterator: a pathspec of the options matches nothing.
            ValueError: There are too many paths.
        """
        if self.parts and not paths:
            below = (
                each.snapshot._open_archive(prefix=self.above + each.prefix)  # noqa: SLF001 - others of us
                for each in self.parts
            )
            async with aclosing(iter_joined(self._open_archive(), below)) as joined:
                yield joined
        else:
            async with self._open_archive(paths) as stdout:
                yield stdout

    @asynccontextmanager
    async def _open_archive(
        self, paths: Sequence[bytes] = (), prefix: bytes = b""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        if self.measure(paths) > PATHS_BYTES_MOST:
            msg = f"{len(paths)} paths are more than one git archive takes; read the whole tree"
            raise ValueError(msg)
        literal, asked = self._place(paths)
        async with AsyncExitStack() as stack:
            if self.contents is not None:
                await self.contents.bring(paths)
            worktree = await stack.enter_async_context(self._open_worktree())
            there = str(worktree.path) if worktree else ""
            arguments: list[str | bytes] = ["-C", there] if there else []
            arguments += STREAMED if await self._can_stream(worktree, paths) else ()
            arguments += ["--literal-pathspecs"] if literal else []
            # The mailmap that %aN of export-subst uses: as in a checkout of this commit.
            arguments += ["-c", f"mailmap.blob={self.commit}:.mailmap"]
            arguments += ["archive", "--format=tar"]
            arguments += ["--worktree-attributes"] if there else []
            arguments += [b"--prefix=" + prefix] if prefix else []
            arguments += [self.commit, "--", *asked]
            opened = self.reader.open_stream(
                self.path,
                arguments,
                commit=self.commit,
                doing=f"archive {self.name} {self.commit}",
                environment={"GIT_WORK_TREE": there} if there else {},
                memory_bytes=self._memory_bytes,
            )
            tar = await stack.enter_async_context(opened)
            if self.contents is not None:
                tar = await stack.enter_async_context(
                    self.contents.open_filled(tar, prefix or self.above)
                )
            yield tar

    async def _can_stream(self, worktree: AttributeFiles | None, paths: Sequence[bytes]) -> bool:
        """Return whether it is known that no attribute converts a file of the archive.

        The tree was examined already if it was measured, or if there is a working tree with its
        attributes. Otherwise it is examined now; but not for single `paths`: False then.

        Raises:
            Reject: The tree exceeds the limits.
            GitFailed: The repository cannot be read.
        """
        if self.need is not None:
            return self.need.streamed
        if worktree is not None:
            return not worktree.converts
        if paths:
            return False
        name = f"archive {self.name} {self.commit}"
        found = await weigh(self.reader, self.path, self.root or self.tree, name)
        return not found.converts

    def measure(self, paths: Sequence[bytes]) -> int:
        """Return the part of `PATHS_BYTES_MOST` that these paths take, in bytes."""
        return sum(map(len, paths)) + len(paths) * (1 + len(self.above))

    def _place(self, paths: Sequence[bytes]) -> tuple[bool, Sequence[str | bytes]]:
        """Return the pathspecs for `git archive`, and whether they are to be taken literally.

        `git archive <commit>:<directory>` would lose the commit: its time, its id for
        `export-subst`. When git before 2.41 runs in the directory, it ignores the attributes above
        it and reads those in it as if they were at the top. So git is asked for the directory's
        path, and the path is removed again (`above`).
        """
        subtree = self.options.subtree
        if paths:
            return True, [self.above + path for path in paths]
        if self.options.paths:
            return False, place_pathspecs(subtree, self.options.paths)
        return True, [subtree] if subtree else []

    @asynccontextmanager
    async def _open_worktree(self) -> AsyncIterator[AttributeFiles | None]:
        """Yield a working tree with the attributes of the commit, if there is one."""
        if self.worktrees is None:
            yield None
        else:
            tree = CommitTree(self.path, self.root or self.tree, self.ref)
            async with self.worktrees.open(tree) as worktree:
                yield worktree

    @asynccontextmanager
    async def open_blobs(self, entries: Sequence[TreeEntry]) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the tar that `git archive` makes of a tree without attributes, of `entries` alone.

        The cost is that of the entries; `git archive` with paths reads the whole tree first.

        Raises:
            GitFailed: From the iterator, as `open_archive`.
        """
        blobs = [entry.object_id for entry in entries if entry.kind == "blob"]
        doing = f"read {len(blobs)} blobs of {self.name} {self.commit}"
        if not blobs:
            yield write_tar(entries, no_blobs(), time=self.commit_time, above=self.above)
            return
        if self.contents is not None:
            await self.contents.bring([each.path for each in entries if each.kind == "blob"])
        async with self.reader.open_stream(
            self.path,
            (*STREAMED, "cat-file", "--batch", "--buffer"),
            commit=self.commit,
            doing=doing,
            stdin="\n".join((*blobs, "")).encode(),
            memory_bytes=self._memory_bytes,
        ) as stdout:
            tar = write_tar(entries, stdout, time=self.commit_time, above=self.above)
            if self.contents is None:
                yield tar
                return
            async with self.contents.open_filled(tar, self.above) as filled:
                yield filled
