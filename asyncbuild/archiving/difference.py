"""What of an older archive is not in a new tree as it is there, and what is to be read for it.

An entry is named as the archive names it: a directory, and a submodule, which is an empty directory
in an archive, by its path with a slash.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from stat import S_ISLNK
from typing import Final

from asyncbuild.archive.attributes import digest_of, is_attributes
from asyncbuild.archive.table import Table
from asyncbuild.archiving.fallback import FallBack
from asyncbuild.git.blobs import TreeEntry
from asyncbuild.git.changes import Change

_OWNER_X: Final = 0o100


def name_of(entry: TreeEntry) -> bytes:
    """What an archive calls it."""
    return entry.path if entry.kind == "blob" else entry.path + b"/"


@dataclass(slots=True)
class Difference:
    """`removed` are names in the older archive; `fresh` is in the order of the new tree."""

    removed: set[bytes] = field(default_factory=set)
    fresh: dict[bytes, TreeEntry] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.removed or self.fresh)

    @property
    def changes(self) -> int:
        """How many paths differ."""
        return len(self.removed | self.fresh.keys())

    def add_changes(self, changes: Iterable[Change]) -> None:
        """Take in what git says of two trees, whose attributes are the same."""
        for old, new in changes:
            if old and new and old.kind == new.kind != "blob":
                continue  # a directory stays one, whatever is in it
            if old:
                self.removed.add(name_of(old))
            if new:
                self.fresh[name_of(new)] = new

    def add_all(self, entries: Iterable[tuple[bytes, TreeEntry]]) -> None:
        """Take in entries that have to be read again although nothing changed."""
        for name, entry in entries:
            self.removed.add(name)
            self.fresh.setdefault(name, entry)


class Comparison:
    """A table against a whole tree: for an archive whose own tree is not here."""

    def __init__(self, table: Table) -> None:
        self._left = {name: (mode, blob_id) for name, mode, blob_id in table.iter_entries()}
        self._files: dict[bytes, tuple[int, str]] = {}
        self._difference = Difference()

    def add(self, entries: Iterable[TreeEntry]) -> None:
        """The next entries of the tree."""
        for entry in entries:
            name = name_of(entry)
            if is_attributes(entry.path):
                self._files[entry.path] = (entry.mode, entry.object_id)
            known = self._left.pop(name, None)
            if known is not None and _is_same(entry, *known):
                continue
            if known is not None:
                self._difference.removed.add(name)
            self._difference.fresh[name] = entry

    def finish(self, attributes: str) -> Difference:
        """The difference, given the digest of the older tree's attributes.

        Raises:
            FallBack: They changed.
        """
        if digest_of(self._files) != attributes:
            raise FallBack("attributes-changed")
        self._difference.removed.update(self._left)
        return self._difference


def _is_same(entry: TreeEntry, mode: int, blob_id: bytes) -> bool:
    if entry.kind != "blob":
        return True  # names of directories end in a slash, so this is one
    if entry.object_id != blob_id.hex() or S_ISLNK(entry.mode) != S_ISLNK(mode):
        return False
    return S_ISLNK(mode) or bool(entry.mode & _OWNER_X) == bool(mode & _OWNER_X)


def parents_of(names: Iterable[bytes]) -> set[bytes]:
    """Every directory above these names, as an archive calls it."""
    parents: set[bytes] = set()
    for name in names:
        end = name.rfind(b"/", 0, len(name) - 1)
        while end > 0 and name[: end + 1] not in parents:
            parents.add(name[: end + 1])
            end = name.rfind(b"/", 0, end)
    return parents


def paths_of(fresh: Mapping[bytes, TreeEntry]) -> list[bytes]:
    """What to ask `git archive` for: not what is below a directory that is fresh itself."""
    trees = {name for name, entry in fresh.items() if entry.kind == "tree"}
    return [entry.path for name, entry in fresh.items() if trees.isdisjoint(parents_of([name]))]
