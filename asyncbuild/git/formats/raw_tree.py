"""Raw tree objects, and summaries of trees: how many entries, which `.gitattributes`. Pure.

A tree object is a run of `<mode> <name>`, a zero, and the raw id (gitformat-pack(5), git's
tree-walk.c). The summary of a tree follows from its own entries and the summaries of its subtrees.
Summaries go by the ids of trees, so for a commit that changed one file only the directories above
that file have to be read.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final, NamedTuple

from asyncbuild.git.formats.gitattributes import NAME

TREE: Final = 0o040000
_COMMIT: Final = 0o160000
# All that git writes; it lists an entry of another mode as something else than it is.
_MODES: Final[Mapping[bytes, int]] = {
    b"%o" % mode: mode for mode in (TREE, 0o100644, 0o100755, 0o100664, 0o120000, _COMMIT)
}
_DEPTH_MOST: Final = 100
_ATTRIBUTES_MOST: Final = 100


class UnsuitableError(ValueError):
    """A tree is too large, too deep or too odd to be summed up here."""


class RawEntry(NamedTuple):
    """Entry of one tree object, with its id in hex digits."""

    mode: int
    name: bytes
    object_id: str


class AttributeFile(NamedTuple):
    """A `.gitattributes` in a tree."""

    path: bytes
    object_id: str


class TreeSummary(NamedTuple):
    """Counts of a whole tree.

    Attributes:
        entries: Number of everything in it, directories included.
        files: Number of everything in it but directories.
        attributes: Its `.gitattributes`.
    """

    entries: int
    files: int
    attributes: tuple[AttributeFile, ...]


def parse_tree(content: bytes, id_bytes: int) -> list[RawEntry]:
    """Return the entries of a tree object.

    Args:
        content: The object.
        id_bytes: Length of a raw id.

    Raises:
        UnsuitableError: It is not a tree as git writes them.
    """
    entries = []
    at = 0
    while at < len(content):
        begin = content.find(b" ", at) + 1
        end = content.find(b"\0", begin)
        mode = _MODES.get(content[at : begin - 1]) if begin else None
        name, raw_id = content[begin:end], content[end + 1 : end + 1 + id_bytes]
        if mode is None or end <= begin or len(raw_id) < id_bytes or b"/" in name:
            msg = f"no entry of a tree: {content[at : at + 100]!r}"
            raise UnsuitableError(msg)
        entries.append(RawEntry(mode, name, raw_id.hex()))
        at = end + 1 + id_bytes
    return entries


class TreeWalk:
    """Sums up one tree: says which tree objects it needs, and gets them, until there is a summary.

    Attributes:
        wanted: Ids of the trees to read next; none if nothing more is needed.

    Args:
        tree: Id of the tree.
        known: Summaries by id; those of all trees that are read are added.
        entries_most: Largest tree that is summed up.
    """

    def __init__(
        self, tree: str, known: MutableMapping[str, TreeSummary], *, entries_most: int
    ) -> None:
        self._tree = tree
        self._found: dict[str, TreeSummary] = {}
        self._known = known
        self._entries_most = entries_most
        self._read: dict[str, Sequence[RawEntry]] = {}
        self._seen = 0
        self._depth = 0
        self.wanted: list[str] = []
        self._want([tree])

    def feed(self, contents: Sequence[bytes]) -> None:
        """Take the contents of the trees that are `wanted`, in their order.

        Raises:
            UnsuitableError: The tree is too large, too deep or too odd.
        """
        below: list[str] = []
        for tree, content in zip(self.wanted, contents, strict=True):
            entries = parse_tree(content, len(tree) // 2)
            self._seen += len(entries)
            if self._seen > self._entries_most:
                raise UnsuitableError(f"more than {self._entries_most} entries")
            self._read[tree] = entries
            below += [each.object_id for each in entries if each.mode == TREE]
        self._depth += 1
        if self._depth > _DEPTH_MOST:
            raise UnsuitableError(f"more than {_DEPTH_MOST} directories in each other")
        self._want(below)

    def finish(self) -> TreeSummary:
        """Return the summary; once nothing is `wanted` any more.

        Raises:
            UnsuitableError: As `feed`.
        """
        found = self._sum_up(self._tree, 0)
        self._known.update(self._found)
        return found

    def _want(self, trees: Sequence[str]) -> None:
        """Want those of the trees that are neither known nor read."""
        self.wanted = []
        for tree in dict.fromkeys(trees):
            if tree in self._known:  # kept here: another walk may push it out meanwhile
                self._found[tree] = self._known[tree]
            elif tree not in self._read:
                self.wanted.append(tree)

    def _sum_up(self, tree: str, depth: int) -> TreeSummary:
        if tree in self._found:
            return self._found[tree]
        if depth > _DEPTH_MOST:  # `feed` counts the shortest way to each tree, this the longest
            raise UnsuitableError(f"more than {_DEPTH_MOST} directories in each other")
        entries = files = 0
        attributes: list[AttributeFile] = []
        for each in self._read[tree]:
            entries += 1
            if each.mode == TREE:
                below = self._sum_up(each.object_id, depth + 1)
                entries += below.entries
                files += below.files
                attributes += [
                    AttributeFile(each.name + b"/" + path, blob) for path, blob in below.attributes
                ]
            else:
                files += 1
                if each.name == NAME and each.mode != _COMMIT:
                    attributes.append(AttributeFile(each.name, each.object_id))
            if entries > self._entries_most or len(attributes) > _ATTRIBUTES_MOST:
                raise UnsuitableError(f"{tree}: too many entries, or too many .gitattributes")
        self._found[tree] = TreeSummary(entries, files, tuple(attributes))
        return self._found[tree]
