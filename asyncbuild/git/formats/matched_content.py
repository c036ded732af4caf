"""Digest of what pathspecs match in a tree, from as few of its tree objects as possible.

A directory that a pathspec matches as a whole counts by the id of its tree, so nothing below it is
read. Only the directories above what is matched, and above what is excluded, have to be read.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from asyncbuild.domain.archive_options import split_pathspec
from asyncbuild.git.formats.raw_tree import TREE, RawEntry, parse_tree

_WILD: Final = re.compile(r"[*?\[\\]")  # git's ctype.c, GIT_GLOB_SPECIAL
_GITLINK: Final = 0o160000


class LiteralPath(NamedTuple):
    """A path in a tree. With `is_directory` no file is meant: a slash was at its end."""

    path: bytes
    is_directory: bool


class LiteralPathspecs(NamedTuple):
    """Pathspecs without wildcards. Without `included` all is matched."""

    included: tuple[LiteralPath, ...]
    excluded: tuple[LiteralPath, ...]


def parse_literal(pathspecs: Sequence[str]) -> LiteralPathspecs | None:
    """Return checked pathspecs as plain paths; None if one has a wildcard, or ignores case.

    Those are git's to match (wildmatch.c).
    """
    included: list[LiteralPath] = []
    excluded: list[LiteralPath] = []
    for each in pathspecs:
        magic, path = split_pathspec(each)
        if "icase" in magic or ("literal" not in magic and _WILD.search(path)):
            return None
        name = LiteralPath(
            path.removesuffix("/").encode("utf-8", "surrogateescape"), path.endswith("/")
        )
        (excluded if "exclude" in magic else included).append(name)
    return LiteralPathspecs(tuple(included), tuple(excluded))


class ContentWalk:
    """Finds what is matched in a tree: says which tree objects it needs, and gets them.

    Attributes:
        wanted: Ids of the trees to read next; none once everything is found.

    Args:
        tree: Id of the tree.
        pathspecs: What is matched.
    """

    def __init__(self, tree: str, pathspecs: LiteralPathspecs) -> None:
        self._pathspecs = pathspecs
        self._matched: list[tuple[bytes, RawEntry]] = []
        # Directories to look through next: id, path with a slash, and whether all in it is matched.
        self._open = [(tree, b"", not pathspecs.included)]

    @property
    def wanted(self) -> list[str]:
        """Ids of the trees to read next; none once everything is found."""
        return [tree for tree, _, _ in self._open]

    def feed(self, contents: Mapping[str, bytes]) -> None:
        """Take the contents of the trees that are `wanted`, by id.

        Raises:
            UnsuitableError: A tree is not as git writes them.
        """
        looking, self._open = self._open, []
        for tree, above, is_whole in looking:
            for entry in parse_tree(contents[tree], len(tree) // 2):
                self._look_at(above + entry.name, entry, is_whole=is_whole)

    def digest(self) -> str:
        """Return a digest of paths, modes and ids of everything that is matched."""
        digest = hashlib.sha256()
        for path, entry in sorted(self._matched):
            digest.update(b"%o %s %s\0" % (entry.mode, entry.object_id.encode(), path))
        return digest.hexdigest()

    def _look_at(self, path: bytes, entry: RawEntry, *, is_whole: bool) -> None:
        included, excluded = self._pathspecs
        if any(_is_named(each, path, entry) for each in excluded):
            return
        is_whole = is_whole or any(_is_named(each, path, entry) for each in included)
        if entry.mode != TREE:
            if is_whole:
                self._matched.append((path, entry))
            return
        below = path + b"/"
        if is_whole and not any(each.path.startswith(below) for each in excluded):
            self._matched.append((path, entry))
        elif is_whole or any(each.path.startswith(below) for each in included):
            self._open.append((entry.object_id, below, is_whole))


def _is_named(name: LiteralPath, path: bytes, entry: RawEntry) -> bool:
    """Return whether a path is this one (git's tree-walk.c, match_entry)."""
    return path == name.path and (not name.is_directory or entry.mode in {TREE, _GITLINK})
