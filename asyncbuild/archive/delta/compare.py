"""Comparison of an older archive with a new tree: what to remove, and what to read again.

An entry is named as the archive names it: a directory by its path with a slash, and so is a
submodule, which is an empty directory in an archive.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from stat import S_ISLNK
from typing import Final

from asyncbuild.archive.delta.planning.attributes import Effect, is_attributes
from asyncbuild.archive.delta.planning.entry_table import Table, parents_of
from asyncbuild.git.formats.tree_lines import TreeEntry
from asyncbuild.git.tree.changes import TreeChange

_OWNER_X: Final = 0o100


def name_of(entry: TreeEntry) -> bytes:
    """Return the name of an entry in an archive."""
    return entry.path if entry.kind == "blob" else entry.path + b"/"


@dataclass(slots=True)
class Difference:
    """Difference of archive and tree: `removed` archive names, `fresh` entries in tree order.

    `git archive` writes a directory once it reaches something in it that is not a directory. An
    entry that `export-ignore` marks counts; entries below a directory that it marks do not. So
    trees alone do not tell which directories an archive has: `settle` finds out from the archive's
    table.
    """

    removed: set[bytes] = field(default_factory=set)
    fresh: dict[bytes, TreeEntry] = field(default_factory=dict)
    _new: dict[bytes, TreeEntry] = field(default_factory=dict)  # fresh and kept, in order
    _kept: set[bytes] = field(default_factory=set)  # directories of both archive and tree
    _doubtful: set[bytes] = field(default_factory=set)  # of those, the archive may lose these
    _gone: set[bytes] = field(default_factory=set)  # directories that are removed

    def __bool__(self) -> bool:
        return bool(self.removed or self.fresh)

    @property
    def changes(self) -> int:
        """Number of paths that differ."""
        return len(self.removed | self.fresh.keys())

    def add_changes(self, changes: Iterable[TreeChange]) -> None:
        """Add git's differences of two trees, whose attributes are the same."""
        for old, new in changes:
            if old and new and old.kind == new.kind != "blob":
                if new.kind == "tree":
                    self.add_kept(name_of(new), new)
                continue  # a directory in both, whatever its contents
            if old:
                self.removed.add(name_of(old))
                if old.kind == "tree":
                    self._gone.add(name_of(old))
            if new:
                self.add_fresh(name_of(new), new)

    def add_fresh(self, name: bytes, entry: TreeEntry) -> None:
        """Add an entry that the older archive does not have as it is in the new tree."""
        self.fresh[name] = self._new[name] = entry

    def add_kept(self, name: bytes, entry: TreeEntry, *, doubtful: bool = False) -> None:
        """Add a directory of both trees.

        Args:
            name: Its name in the archive.
            entry: Its entry in the new tree.
            doubtful: Whether it may have been a submodule.
        """
        self._new[name] = entry
        self._kept.add(name)
        if doubtful:
            self._doubtful.add(name)

    def add_all(self, entries: Iterable[tuple[bytes, TreeEntry]]) -> None:
        """Add entries that have to be read again although nothing changed."""
        for name, entry in entries:
            self.removed.add(name)
            self.fresh.setdefault(name, entry)

    def settle(self, table: Table, effect: Effect) -> None:
        """Decide which directories are added and removed, given the older archive's entries.

        With attributes only git knows why it writes a directory without entries left to copy,
        so such a directory is read again, with everything in it.
        """
        filled = parents_of(name for name, each in self.fresh.items() if each.kind != "tree")
        emptied = parents_of(self.removed - self._gone)
        self.removed -= self._gone - emptied
        asked = (self._kept & filled) - (emptied if effect is Effect.NONE else frozenset())
        there = {table.name_of(number) for number in table.find(asked)} if asked else set()
        added = asked - there
        losing = self._kept & emptied
        losing = losing - filled if effect is Effect.NONE else losing | self._doubtful
        losing -= added
        losing -= table.find_filled(losing, without=self.removed | losing)
        self.removed |= losing
        if effect is not Effect.NONE:
            added |= losing
        self.fresh = {
            name: entry
            for name, entry in self._new.items()
            if name in added
            or (name not in self._kept and (entry.kind != "tree" or name in filled))
        }


class Comparison:
    """Comparison of an older archive's table with a whole new tree.

    It is for an archive whose own tree the mirror does not have.

    Attributes:
        attributes: Modes and object ids of all `.gitattributes` added so far, by path.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._left = {name: (mode, blob_id) for name, mode, blob_id in table.iter_entries()}
        self.attributes: dict[bytes, tuple[int, str]] = {}
        self._difference = Difference()
        self._above: list[TreeEntry] = []  # directories in which no entry was met yet

    def add(self, entries: Iterable[TreeEntry]) -> None:
        """Compare the next entries of the tree."""
        for entry in entries:
            if is_attributes(entry.path):
                self.attributes[entry.path] = (entry.mode, entry.object_id)
            while self._above and not entry.path.startswith(self._above[-1].path + b"/"):
                self._above.pop()
            self._above.append(entry)
            if entry.kind != "tree":
                for each in self._above:
                    self._add(name_of(each), each)
                self._above.clear()

    def _add(self, name: bytes, entry: TreeEntry) -> None:
        known = self._left.pop(name, None)
        if entry.kind == "tree" and known is not None:
            self._difference.add_kept(name, entry, doubtful=True)
        elif known is None or not _is_same(entry, *known):
            if known is not None:
                self._difference.removed.add(name)
            self._difference.add_fresh(name, entry)

    def finish(self, effect: Effect) -> Difference:
        """Return the difference, given the effect of the attributes, which did not change."""
        self._difference.removed.update(self._left)
        self._difference.settle(self._table, effect)
        return self._difference


def _is_same(entry: TreeEntry, mode: int, blob_id: bytes) -> bool:
    if entry.kind != "blob":
        return False  # a submodule may have been a directory, which has the same name
    if entry.object_id != blob_id.hex() or S_ISLNK(entry.mode) != S_ISLNK(mode):
        return False
    return S_ISLNK(mode) or bool(entry.mode & _OWNER_X) == bool(mode & _OWNER_X)


def paths_of(fresh: Mapping[bytes, TreeEntry]) -> list[bytes]:
    """Return the paths to ask `git archive` for, without those below a directory that is fresh."""
    trees = {name for name, entry in fresh.items() if entry.kind == "tree"}
    return [entry.path for name, entry in fresh.items() if trees.isdisjoint(parents_of([name]))]
