"""One commit, there to be read: its archive and its tree as streams."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asyncbuild.git.reader import Reader

PATHS_BYTES_MOST = 1024 * 1024  # Linux gives arguments and environment 2 MiB together


class TreeEntry(NamedTuple):
    """One line of `git ls-tree`: a blob, a symbolic link, a tree or a submodule's commit."""

    mode: int
    kind: str
    object_id: str
    path: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A commit that is present and stays so as long as its owner's `async with` lasts.

    Attributes:
        path: The bare repository; `commit` is there, its history may not be.
        commit: Id of the commit; annotated tags are peeled.
        commit_time: Seconds since 1970, by the committer's clock.
        tree: Id of the commit's tree.
    """

    path: Path
    commit: str
    commit_time: int
    tree: str
    name: str
    reader: Reader

    def open_archive(
        self, *, paths: Sequence[bytes] = ()
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """`git archive --format=tar` in chunks of at most 1 MiB, read only as asked for.

        Args:
            paths: Only these, taken literally; at most `PATHS_BYTES_MOST` bytes in all. Every path
                must be in the tree; a directory stands for all that is in it.

        Raises:
            GitFailed: from the iterator, after the last chunk, if git did not finish well: nothing
                of what was read may be used then.
            ValueError: too many paths.
        """
        if sum(map(len, paths)) + len(paths) > PATHS_BYTES_MOST:
            msg = f"{len(paths)} paths are more than one git archive takes; read the whole tree"
            raise ValueError(msg)
        arguments: list[str | bytes] = ["--literal-pathspecs", "archive", "--format=tar"]
        arguments += [self.commit, "--", *paths]
        doing = f"archive {self.name} {self.commit}"
        return self.reader.open_stream(self.path, arguments, commit=self.commit, doing=doing)

    async def iter_tree(self) -> AsyncIterator[list[TreeEntry]]:
        """`git ls-tree -r -t`: every entry in git's order, in batches as they come.

        Raises:
            GitFailed: git did not finish well; the batches so far are not the whole tree.
        """
        arguments = ("ls-tree", "-r", "-t", "-z", "--full-tree", self.commit)
        doing = f"list the tree of {self.name} {self.commit}"
        async with self.reader.open_stream(
            self.path, arguments, commit=self.commit, doing=doing
        ) as stdout:
            rest = b""
            async for chunk in stdout:
                *lines, rest = (rest + chunk).split(b"\0")
                if lines:
                    yield [_parse_entry(line) for line in lines]

    async def is_ancestor(self, ancestor: str, descendant: str) -> bool | None:
        """Is `ancestor` in the history of `descendant`? None where the history here ends too soon.

        Raises:
            GitFailed: git failed for a reason other than missing history.
        """
        return await self.reader.is_ancestor(self.path, ancestor, descendant)


def _parse_entry(line: bytes) -> TreeEntry:
    """`<mode> <type> <id>`, a tab, `<path>`."""
    facts, _, path = line.partition(b"\t")
    mode, kind, object_id = facts.decode().split()
    return TreeEntry(int(mode, 8), kind, object_id, path)
