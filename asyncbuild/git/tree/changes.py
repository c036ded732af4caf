"""Parser of `git diff-tree` lines: each path's old and new entry."""

from collections.abc import AsyncGenerator, AsyncIterator
from functools import lru_cache
from stat import S_IFDIR, S_IFMT
from typing import Final, NamedTuple

from asyncbuild.domain.errors import Retry
from asyncbuild.git.formats.tree_lines import TreeEntry

_GITLINK: Final = 0o160000  # gitrepository-layout: a submodule's commit
_FILES: Final = (b":100", b":120")  # beginning of a line whose path was a file or a link


class NoSuchTree(Retry):
    """A tree that is asked for is not here."""


Lines = list[bytes]  # output of `git diff-tree`: facts and path of each change in turn


class TreeChange(NamedTuple):
    """One line of `git diff-tree`: old and new entry of a path; None if there was or is none."""

    old: TreeEntry | None
    new: TreeEntry | None


async def read_lines(
    stdout: AsyncIterator[bytes], *, asked: bytes, doing: str
) -> AsyncGenerator[Lines, None]:
    """Cut the output of `git diff-tree --stdin -z --raw` into batches of whole changes.

    Args:
        stdout: The output.
        asked: The line of input, which git repeats first if it can read both trees.
        doing: What the git was to do, for people.

    Raises:
        NoSuchTree: Before the first batch: one of the trees is not here.
    """
    head = b""
    async for chunk in stdout:
        head += chunk
        if len(head) >= len(asked):
            break
    if not head.startswith(asked):
        raise NoSuchTree(doing)
    rest = head.removeprefix(asked).split(b"\0")
    while True:
        whole = (len(rest) - 1) & ~1
        if whole:
            yield rest[:whole]
        rest = rest[whole:]
        chunk = await anext(stdout, b"")
        if not chunk:
            return
        rest[-1:] = (rest[-1] + chunk).split(b"\0")


def parse_changes(lines: Lines) -> list[TreeChange]:
    """Parse all changes of a batch, in three microseconds each."""
    return [parse_change(*pair) for pair in zip(lines[::2], lines[1::2], strict=True)]


def files_before(lines: Lines) -> list[bytes]:
    """Return paths that were files or links, in a tenth of the time of parsing."""
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return [path for facts, path in pairs if facts.startswith(_FILES)]


def parse_change(facts: bytes, path: bytes) -> TreeChange:
    """Parse the line `:<old mode> <new mode> <old id> <new id> <status>` and its path."""
    old_mode, new_mode, old_id, new_id, _ = facts[1:].decode().split()
    return TreeChange(_entry(old_mode, old_id, path), _entry(new_mode, new_id, path))


def _entry(mode: str, object_id: str, path: bytes) -> TreeEntry | None:
    number, kind = _mode_and_kind(mode)
    return TreeEntry(number, kind, object_id, path) if number else None


@lru_cache(64)
def _mode_and_kind(mode: str) -> tuple[int, str]:
    """Parse a mode. Cached, because thousands of entries have a few modes."""
    number = int(mode, 8)
    return number, {S_IFDIR: "tree", _GITLINK: "commit"}.get(S_IFMT(number), "blob")
