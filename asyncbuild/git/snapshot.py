"""One commit, there to be read: its archive and its tree as streams.

Whatever a snapshot says of paths and trees, it says of its *subtree*, if it has one: that is the
root then, and nothing above it counts.
"""

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from asyncbuild.domain.archive_options import (
    WHOLE,
    ArchiveOptions,
    ExportAttributes,
    place_pathspecs,
)
from asyncbuild.domain.errors import Reject
from asyncbuild.git.content.lfs.contents import Contents, Objects
from asyncbuild.git.content.tar_concat import iter_joined
from asyncbuild.git.formats.cat_file import Commit
from asyncbuild.git.formats.gitattributes import converts
from asyncbuild.git.formats.tree_lines import TreeEntry, parse_entry
from asyncbuild.git.process.command import ProcessKind
from asyncbuild.git.process.memory import STREAMED
from asyncbuild.git.reader import Reader
from asyncbuild.git.tree.attribute_worktrees import AttributeFiles, CommitTree, Worktrees
from asyncbuild.git.tree.blobs import no_blobs, write_tar
from asyncbuild.git.tree.changes import (
    Lines,
    NoSuchTree,
    TreeChange,
    parse_changes,
    read_lines,
)
from asyncbuild.git.tree.check_attr import Attributes, Run, is_left_out, look_up, read_above
from asyncbuild.git.tree.weight import Need, count_lines, measure, weigh

PATHS_BYTES_MOST = 1024 * 1024  # Linux gives arguments and environment 2 MiB together
_HEX = re.compile("[0-9a-f]+")


class SubmodulePart(NamedTuple):
    """A submodule: what of it is in an archive stands below `prefix`, which ends in a slash."""

    prefix: bytes
    snapshot: "Snapshot"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A commit that is present and stays so as long as its owner's `async with` lasts.

    Attributes:
        path: The bare repository; `commit` is there, its history may not be.
        commit: Id of the commit; annotated tags are peeled.
        commit_time: Seconds since 1970, by the committer's clock.
        tree: Id of the commit's tree, or of the subtree.
        root: Id of the commit's tree, if `tree` is that of a subtree.
        attributes_above: The `.gitattributes` above the subtree: modes and ids by path.
        options: What of it is wanted in an archive.
        parts: Submodules whose trees are in the archive, too.
        ref: Where it was pushed to, if that is known.
        worktrees: What lets an archive begin at once; None where nothing is kept for others.
        objects: Where the contents of its LFS files are kept, if anywhere.
        contents: Those that are in the archive, in place of pointers.
        need: What an archive takes in git, if it was measured.
    """

    path: Path
    commit: str
    commit_time: int
    tree: str
    name: str
    reader: Reader
    options: ArchiveOptions = WHOLE
    parts: tuple[SubmodulePart, ...] = ()
    ref: str = ""
    worktrees: Worktrees | None = None
    objects: Objects | None = None
    contents: Contents | None = None
    root: str = ""
    attributes_above: Attributes = field(default_factory=dict)
    need: Need | None = None

    async def measured(self) -> "Snapshot":
        """The same, for archives with large files, its parts' too: each gets the memory it takes.

        Raises:
            Reject: one takes more than git may have.
            GitFailed: the repository cannot be read.
        """
        name = f"archive {self.name} {self.commit}"
        tree = self.root or self.tree
        need = await measure(self.reader, self.path, tree, name, self.reader.memory)
        parts = [SubmodulePart(prefix, await each.measured()) for prefix, each in self.parts]
        return replace(self, need=need, parts=tuple(parts))

    @property
    def _memory_bytes(self) -> int:
        return self.need.memory_bytes if self.need else 0

    @property
    def above(self) -> bytes:
        """Prefix of all names in its tars: the subtree with a slash, or nothing."""
        return os.fsencode(f"{self.options.subtree}/") if self.options.subtree else b""

    async def select(self, options: ArchiveOptions) -> "Snapshot":
        """The same commit, for archives with these options.

        Raises:
            Reject: it has no such subtree, or `export-ignore` leaves that out.
            GitFailed: the repository cannot be read.
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
            self._asking("export-ignore"), above, options.subtree
        ):
            raise Reject(
                f"export-ignore in {self.name} {self.commit} leaves out {options.subtree!a}",
                remedy='set export_attributes = "ignore" for it, or correct .gitattributes',
            )
        return found

    async def read_attributes_above(self, commit: str) -> Attributes:
        """The `.gitattributes` of the directories above the subtree, of any commit.

        Raises:
            GitFailed: the repository cannot be read.
        """
        return await read_above(self._asking("attributes"), commit, self.options.subtree)

    def _asking(self, what: str) -> Run:
        doing = f"look for {what} in {self.name} {self.commit}"
        return partial(self.reader.run, self.path, commit=self.commit, doing=doing)

    def rooted(self, attributes: Attributes) -> Attributes:
        """Return all attributes that count in an archive, by paths in the whole tree."""
        return {
            **self.attributes_above,
            **{self.above + path: each for path, each in attributes.items()},
        }

    @asynccontextmanager
    async def open_archive(
        self, *, paths: Sequence[bytes] = ()
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """`git archive --format=tar` in chunks of at most 1 MiB, read only as asked for.

        With `parts` one tar follows another, each made when its turn has come.

        Args:
            paths: Only these, taken literally; at most `PATHS_BYTES_MOST` bytes in all. Every path
                must be in the tree; a directory means all that is in it. Without, those of
                the options.

        Raises:
            GitFailed: from the iterator, after the last chunk, if git did not finish well: nothing
                of what was read may be used then.
            Reject: from the iterator: a pathspec of the options matches nothing.
            ValueError: too many paths.
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
            # Which names %aN of export-subst means: as in a checkout of this commit.
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
        """Return whether no attribute converts a file of the archive; False if it is not known.

        Trees with a working tree were looked through, and so were measured ones. Another one is
        looked through now, and refused if it is beyond the limits.

        Raises:
            Reject: it is.
            GitFailed: the repository cannot be read.
        """
        if self.need is not None:
            return self.need.streamed
        if worktree is not None:
            return not worktree.converts
        if paths:
            return False
        name = f"archive {self.name} {self.commit}"
        found = await weigh(self.reader, self.path, self.root or self.tree, name)
        return not converts(found.attributes)

    def measure(self, paths: Sequence[bytes]) -> int:
        """Return the part of `PATHS_BYTES_MOST` that these paths take, in bytes."""
        return sum(map(len, paths)) + len(paths) * (1 + len(self.above))

    def _place(self, paths: Sequence[bytes]) -> tuple[bool, Sequence[str | bytes]]:
        """Return the pathspecs for `git archive`, and whether they are to be taken literally.

        `git archive <commit>:<directory>` would forget the commit: its time, its id for
        `export-subst`. Called in the directory, git before 2.41 takes the attributes above it for
        none and reads those in it as if they were at the top. So it is asked for the directory's
        path, and the path is taken off again (`above`).
        """
        subtree = self.options.subtree
        if paths:
            return True, [self.above + path for path in paths]
        if self.options.paths:
            return False, place_pathspecs(subtree, self.options.paths)
        return True, [subtree] if subtree else []

    @asynccontextmanager
    async def _open_worktree(self) -> AsyncIterator[AttributeFiles | None]:
        """A working tree with the attributes of the commit, if there is one."""
        if self.worktrees is None:
            yield None
        else:
            tree = CommitTree(self.path, self.root or self.tree, self.ref)
            async with self.worktrees.open(tree) as worktree:
                yield worktree

    async def iter_lines(self) -> AsyncGenerator[list[bytes], None]:
        """Lines of `git ls-tree -r -t`, in git's order, in batches as they come.

        Raises:
            GitFailed: git did not finish well; the batches so far are not the whole tree.
            Reject: they are more entries than an archive may have.
        """
        arguments = ("ls-tree", "-r", "-t", "-z", "--full-tree", self.tree)
        doing = f"list the tree of {self.name} {self.commit}"
        async with (
            self.reader.open_stream(
                self.path, arguments, commit=self.commit, doing=doing, work=ProcessKind.TREE
            ) as stdout,
            aclosing(count_lines(_split(stdout), self.reader, doing)) as batches,
        ):
            async for lines in batches:
                yield lines

    async def iter_tree(self) -> AsyncGenerator[list[TreeEntry], None]:
        """Every entry of the tree, as `iter_lines`."""
        async with aclosing(self.iter_lines()) as batches:
            async for lines in batches:
                yield [parse_entry(line) for line in lines]

    async def find_commit(self, commit: str) -> Commit | None:
        """Another commit of this repository, if it and the subtree in it are here.

        Raises:
            GitFailed: the repository cannot be read.
        """
        if len(commit) != len(self.commit):
            return None
        doing = f"look into {self.name}"
        found = (await self.reader.find(self.path, [commit], doing)).get(commit)
        if found is None or not self.options.subtree:
            return found
        tree = await self.reader.find_tree(self.path, commit, self.options.subtree, doing)
        return replace(found, tree=tree) if tree else None

    async def find_unchanged(
        self, since: str, asked: Iterable[tuple[str, ...]]
    ) -> list[tuple[str, ...]]:
        """Those lists of pathspecs that match nothing that changed since another commit.

        None of them if that commit is not here: then nobody knows.

        Raises:
            GitFailed: the repository cannot be read.
        """
        old = await self.find_commit(since)
        if old is None:
            return []
        doing = f"compare {self.name} {self.commit} with {since}"
        trees = (old.tree, self.tree)
        return [
            each
            for each in asked
            if not await self.reader.is_changed(self.path, trees, each, doing)
        ]

    async def iter_changes(
        self, tree: str, paths: Sequence[str] = ()
    ) -> AsyncGenerator[list[TreeChange], None]:
        """What differs from `tree`, as `iter_changed_lines`."""
        async with aclosing(self.iter_changed_lines(tree, paths)) as batches:
            async for lines in batches:
                yield parse_changes(lines)

    async def iter_changed_lines(
        self, tree: str, paths: Sequence[str] = ()
    ) -> AsyncGenerator[Lines, None]:
        """`git diff-tree -r -t`: what differs from `tree`, in git's order, unparsed, in batches.

        One git says whether that tree is here, too: of `--stdin` it answers with the line that it
        was asked, if both trees can be read, and with nothing if not. It returns whatever is no
        object id as well; so nothing else is asked.

        Args:
            tree: Its id.
            paths: Pathspecs; without, everything.

        Raises:
            NoSuchTree: before the first batch: `tree` is not here. If it is, all that is in it is.
            GitFailed: git did not finish well; the batches so far are not all.
        """
        doing = f"compare {self.name} {self.commit} with tree {tree}"
        if len(tree) != len(self.tree) or not _HEX.fullmatch(tree):  # another object format
            raise NoSuchTree(doing)
        asked = f"{tree} {self.tree}\n".encode()
        async with (
            self.reader.open_stream(
                self.path,
                ("diff-tree", "--stdin", "-r", "-t", "-z", "--raw", "--no-renames", "--", *paths),
                commit=self.commit,
                doing=doing,
                work=ProcessKind.TREE,
                stdin=asked,
            ) as stdout,
            aclosing(read_lines(stdout, asked=asked, doing=doing)) as batches,
        ):
            async for lines in batches:
                yield lines

    @asynccontextmanager
    async def open_blobs(self, entries: Sequence[TreeEntry]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The tar stream that `git archive` makes of a tree without attributes, of `entries` alone.

        It costs what the entries cost; `git archive` with paths reads the whole tree first.

        Raises:
            GitFailed: from the iterator, as `open_archive`.
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

    async def read_blobs(self, ids: Sequence[str], *, most_bytes: int) -> list[bytes] | None:
        """Return the contents of small blobs, or None if they are more than `most_bytes`.

        Raises:
            GitFailed: the repository cannot be read, or a blob is not in it.
        """
        doing = f"read {len(ids)} blobs of {self.name}"
        return await self.reader.read_blobs(self.path, ids, most_bytes=most_bytes, doing=doing)

    async def find_attribute(
        self, name: str, files: Mapping[bytes, str], paths: Iterable[bytes]
    ) -> set[bytes]:
        """The paths for which `.gitattributes` set an attribute.

        Args:
            name: Of the attribute.
            files: Object ids of all `.gitattributes` that count, by path in the whole tree.
            paths: To be looked at.

        Raises:
            GitFailed: git failed.
        """
        asked = (self.above + path for path in paths)
        values = await look_up(self._asking(name), name, files, asked)
        return {
            path[len(self.above) :]
            for path, value in values.items()
            if value not in {b"unspecified", b"unset"}
        }

    async def is_ancestor(self, ancestor: str, descendant: str) -> bool | None:
        """Is `ancestor` in the history of `descendant`? None where the history here ends too soon.

        Raises:
            GitFailed: git failed for a reason other than missing history.
        """
        return await self.reader.is_ancestor(self.path, ancestor, descendant)


async def _split(chunks: AsyncIterator[bytes]) -> AsyncGenerator[list[bytes], None]:
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\0")
        if lines:
            yield lines
