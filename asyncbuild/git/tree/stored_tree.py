"""Tree of one commit: listed, compared with others, and read by object ids."""

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from asyncbuild.domain.archive_options import WHOLE, ArchiveOptions
from asyncbuild.git.formats.cat_file import Commit, message_of
from asyncbuild.git.formats.extent import Counted, ExtentLimits, naming
from asyncbuild.git.formats.tree_lines import TreeEntry, parse_entry
from asyncbuild.git.process.command import ProcessKind
from asyncbuild.git.reader import Reader
from asyncbuild.git.tree.changes import Lines, NoSuchTree, TreeChange, parse_changes, read_lines
from asyncbuild.git.tree.check_attr import Attributes, Run, look_up, read_above

_HEX: Final = re.compile("[0-9a-f]+")
COMMIT_BYTES_MOST: Final = 1024 * 1024  # of a commit whose message is read


@dataclass(frozen=True, slots=True)
class StoredTree:
    """Tree of a commit in a repository, or a subtree of it: its entries, changes and contents.

    Paths are relative to the subtree, if there is one.

    Attributes:
        path: The bare repository; `commit` is there, its history may not be.
        commit: Id of the commit; annotated tags are peeled.
        commit_time: Seconds since 1970, by the committer's clock.
        tree: Id of the commit's tree, or of the subtree.
        name: Name of the repository, for people.
        reader: Reads the repository.
        options: Contents of the archive.
        root: Id of the commit's tree, if `tree` is that of a subtree.
        attributes_above: The `.gitattributes` above the subtree: modes and ids by path.
    """

    path: Path
    commit: str
    commit_time: int
    tree: str
    name: str
    reader: Reader
    options: ArchiveOptions = WHOLE
    root: str = ""
    attributes_above: Attributes = field(default_factory=dict)

    @property
    def above(self) -> bytes:
        """Return the prefix of all names in its tars: the subtree with a slash, or nothing."""
        return os.fsencode(f"{self.options.subtree}/") if self.options.subtree else b""

    async def read_attributes_above(self, commit: str) -> Attributes:
        """Return the `.gitattributes` of the directories above the subtree, in any commit.

        Raises:
            GitFailed: The repository cannot be read.
        """
        return await read_above(self.asking("attributes"), commit, self.options.subtree)

    def asking(self, what: str) -> Run:
        """Return a function that runs git in the repository.

        Args:
            what: What git is to look for, for people.
        """
        doing = f"look for {what} in {self.name} {self.commit}"
        return partial(self.reader.run, self.path, commit=self.commit, doing=doing)

    def rooted(self, attributes: Attributes) -> Attributes:
        """Return all attributes that count in an archive, by paths in the whole tree."""
        return {
            **self.attributes_above,
            **{self.above + path: each for path, each in attributes.items()},
        }

    async def iter_lines(self) -> AsyncGenerator[list[bytes], None]:
        """Yield lines of `git ls-tree -r -t`, in git's order, in batches as they come.

        Raises:
            GitFailed: git failed; the batches so far are not the whole tree.
            Reject: The tree has more entries than an archive may have.
        """
        arguments = ("ls-tree", "-r", "-t", "-z", "--full-tree", self.tree)
        doing = f"list the tree of {self.name} {self.commit}"
        async with (
            self.reader.open_stream(
                self.path, arguments, commit=self.commit, doing=doing, work=ProcessKind.TREE
            ) as stdout,
            aclosing(_counted(_split(stdout), self.reader.most, doing)) as batches,
        ):
            async for lines in batches:
                yield lines

    async def iter_tree(self) -> AsyncGenerator[list[TreeEntry], None]:
        """Yield every entry of the tree, as `iter_lines`."""
        async with aclosing(self.iter_lines()) as batches:
            async for lines in batches:
                yield [parse_entry(line) for line in lines]

    async def find_commit(self, commit: str) -> Commit | None:
        """Return another commit of this repository, if it and the subtree in it are here.

        Raises:
            GitFailed: The repository cannot be read.
        """
        if len(commit) != len(self.commit):
            return None
        doing = f"look into {self.name}"
        found = (await self.reader.find(self.path, [commit], doing)).get(commit)
        if found is None or not self.options.subtree:
            return found
        tree = await self.reader.find_tree(self.path, commit, self.options.subtree, doing)
        return replace(found, tree=tree) if tree else None

    async def read_message(self) -> bytes:
        """Return the commit's message as it is stored; empty for more than `COMMIT_BYTES_MOST`.

        Raises:
            GitFailed: The repository cannot be read.
        """
        doing = f"read the message of {self.name} {self.commit}"
        contents = await self.reader.read_blobs(
            self.path, [self.commit], most_bytes=COMMIT_BYTES_MOST, doing=doing
        )
        return message_of(contents[0]) if contents else b""

    async def find_unchanged(
        self, since: str, asked: Iterable[tuple[str, ...]]
    ) -> list[tuple[str, ...]]:
        """Return the lists of pathspecs that match nothing that changed since another commit.

        The result is empty if that commit is not here.

        Raises:
            GitFailed: The repository cannot be read.
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
        """Yield the changes since `tree`, as `iter_changed_lines`."""
        async with aclosing(self.iter_changed_lines(tree, paths)) as batches:
            async for lines in batches:
                yield parse_changes(lines)

    async def iter_changed_lines(
        self, tree: str, paths: Sequence[str] = ()
    ) -> AsyncGenerator[Lines, None]:
        """Yield changes since `tree`: lines of `git diff-tree -r -t`, in git's order, in batches.

        The same git tells whether that tree is here, too: with `--stdin` it repeats its input line
        if both trees can be read, and prints nothing if not. It also repeats any line that is not
        an object id, so nothing else is sent.

        Args:
            tree: Id of the tree.
            paths: Pathspecs; empty for all.

        Raises:
            NoSuchTree: Before the first batch: `tree` is not here. If it is, everything in it is.
            GitFailed: git failed; the batches so far are not all.
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

    async def read_blobs(self, ids: Sequence[str], *, most_bytes: int) -> list[bytes] | None:
        """Return the contents of small blobs, or None if they exceed `most_bytes` together.

        Raises:
            GitFailed: The repository cannot be read, or a blob is not in it.
        """
        doing = f"read {len(ids)} blobs of {self.name}"
        return await self.reader.read_blobs(self.path, ids, most_bytes=most_bytes, doing=doing)

    async def find_attribute(
        self, name: str, files: Mapping[bytes, str], paths: Iterable[bytes]
    ) -> set[bytes]:
        """Return the paths for which `.gitattributes` set an attribute.

        Args:
            name: Name of the attribute.
            files: Object ids of all `.gitattributes` that count, by path in the whole tree.
            paths: Paths to look up.

        Raises:
            GitFailed: git failed.
        """
        asked = (self.above + path for path in paths)
        values = await look_up(self.asking(name), name, files, asked)
        return {
            path[len(self.above) :]
            for path, value in values.items()
            if value not in {b"unspecified", b"unset"}
        }

    async def is_ancestor(self, ancestor: str, descendant: str) -> bool | None:
        """Return whether one commit is in the history of another; None if that history is cut.

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


async def _counted(
    batches: AsyncIterator[list[bytes]], most: ExtentLimits, name: str
) -> AsyncGenerator[list[bytes], None]:
    """Pass on batches of a tree's entries, as long as there are not too many.

    Raises:
        Reject: There are too many entries.
    """
    counted = Counted(most)
    async for batch in batches:
        with naming(name):
            counted.add(len(batch))
        yield batch
