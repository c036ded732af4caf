"""Random trees with every kind of entry that git can store, each changed from the one before.

Objects are written as git's loose ones, byte by byte: no command of git writes empty trees, odd
modes or odd dates.
"""

import zlib
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from random import Random
from typing import Final

Tree = dict[bytes, "Node"]
# Few names, chosen so that a wrong sort order shows: git sorts a directory as if its name ended in
# a slash.
_NAMES: Final = (
    b"a",
    b"a.b",
    b"a-b",
    b"a0",
    b"ab",
    b"b",
    b"c d",
    b"d",
    b"-e",
    b"[f]",
    b"\xff",
    b"\xc3\xbc",
)
_ENDS: Final = (b"", b"", b".i", b".s", b".c", b".d", b".w", b".h")
_CONTENTS: Final = (
    b"",
    b"line\nline\n",
    b"mixed\r\nends\n",
    b"$Id$ and $Id: 12 $\n",
    b"$Format:%H %ct %s$\n$Format:%T$\n",
    b"\0binary\r\n",
    "gr\u00fc\u00dfe\n".encode(),
)
_MODES: Final = (b"100644", b"100644", b"100755", b"100664", b"100600", b"100777")
_RULES: Final = (
    b"*.i export-ignore",
    b"a export-ignore",
    b"/b export-ignore",
    b"a/b export-ignore",
    b"d/ export-ignore",
    b"a/** export-ignore",
    b"b -export-ignore",
    b"[attr]hidden export-ignore\n*.h hidden",
    b"*.c text eol=crlf",
    b"*.d ident",
    b"* text=auto",
    b"*.w text working-tree-encoding=UTF-16LE",
    b"*.s export-subst",
)
_DEPTH_MOST: Final = 4
_ZONES: Final = (b"+0000", b"+0530", b"-0800", b"+051800", b"-700", b"+1", b"")
_TIMES: Final = (b"1700000000", b"1700000060", b"0", b"17179869183", b"315532799")


@dataclass(slots=True)
class Node:
    """A file, a link or a submodule; a directory if it has a tree."""

    mode: bytes
    content: bytes = b""
    tree: Tree = field(default_factory=dict)

    @property
    def is_tree(self) -> bool:
        """Return whether it is a directory."""
        return self.mode.lstrip(b"0") == b"40000"


class RandomTrees:
    """A bare repository with commits of random trees.

    Args:
        path: Of a repository that exists.
        chance: Where all choices come from.
        base: Content of a file that every tree has.
        above: The directory that it is in, at the root if this is empty.
    """

    def __init__(self, path: Path, chance: Random, base: bytes, above: bytes = b"") -> None:
        self._path = path
        self._chance = chance
        file = Node(b"100644", base)
        place = Node(b"40000", tree={b"0.bin": file})
        self._kept = (file, place)
        self.tree: Tree = {above: place} if above else place.tree

    def begin(self) -> None:
        """Fill the first tree."""
        for above in (b"", b"", b"a", b"b"):
            if self._chance.random() < 0.5:
                rules = b"\n".join(self._chance.sample(_RULES, self._chance.randint(1, 4)))
                place = self.tree
                if above:
                    place = self.tree.setdefault(above, Node(b"40000")).tree
                place[b".gitattributes"] = Node(b"100644", rules + b"\n")
        for _ in range(self._chance.randint(5, 25)):
            self._put(self._place(), self._node())

    def change(self) -> None:
        """Make a few changes, of any kind."""
        for _ in range(self._chance.choice((1, 1, 2, 3, 6))):
            self._change_once()

    def commit(self) -> str:
        """Write the tree and a commit of it, with a date as other tools write it."""
        when = b"%s %s" % (self._chance.choice(_TIMES), self._chance.choice(_ZONES))
        lines = (
            b"tree " + self._write_tree(self.tree).hex().encode(),
            b"author A <a@x> " + when,
            b"committer C <c@x> " + when,
            b"",
            b"change %d" % self._chance.randrange(10**9),
        )
        return self._write(b"commit", b"\n".join(lines) + b"\n").hex()

    # --- changes ----------------------------------------------------------------------------------

    def _change_once(self) -> None:
        place = self._place()
        own = [name for name in place if self._is_free(place, name) and name != b".gitattributes"]
        kind = self._chance.randrange(8)
        if kind == 0 or not own:
            self._put(place, self._node())
        elif kind in {1, 2}:
            del place[self._chance.choice(own)]
        elif kind == 3:
            for name in own:  # empty the directory, which stays
                del place[name]
        elif kind == 4:
            place[self._chance.choice(own)] = self._node()  # mostly another kind
        elif kind == 5:
            moved = place.pop(self._chance.choice(own))
            self._set(place, self._name(), moved)
        elif kind == 6:
            name = self._chance.choice(own)
            if not place[name].is_tree and place[name].mode.startswith(b"100"):
                place[name] = Node(self._chance.choice(_MODES), place[name].content)
        elif self._chance.random() < 0.1:
            place[b".gitattributes"] = Node(b"100644", self._chance.choice(_RULES) + b"\n")
        else:
            self._put(place, Node(b"40000"))

    def _place(self) -> Tree:
        """Return a directory of the tree."""
        place = self.tree
        for _ in range(_DEPTH_MOST):
            below = [each.tree for each in place.values() if each.is_tree]
            if not below or self._chance.random() < 0.4:
                break
            place = self._chance.choice(below)
        return place

    def _put(self, place: Tree, node: Node) -> None:
        """Put the node into the directory, sometimes below new ones."""
        while self._chance.random() < 0.3:
            place = place.setdefault(self._chance.choice(_NAMES), Node(b"40000"))  # type: ignore[assignment]
            if not place.is_tree:  # type: ignore[attr-defined]
                return
            place = place.tree  # type: ignore[attr-defined]
        self._set(place, self._name(), node)

    def _set(self, place: Tree, name: bytes, node: Node) -> None:
        if self._is_free(place, name):
            place[name] = node

    def _is_free(self, place: Tree, name: bytes) -> bool:
        return not any(place.get(name) is each for each in self._kept)

    def _name(self) -> bytes:
        return self._chance.choice(_NAMES) + self._chance.choice(_ENDS)

    def _node(self) -> Node:
        kind = self._chance.randrange(10)
        if kind == 0:
            return Node(b"120000", self._chance.choice((b"a", b"../b", b"\xff", b"t" * 120)))
        if kind == 1:
            return Node(b"160000", b"%040x" % self._chance.randrange(1, 2**160))
        if kind in {2, 3}:
            tree: Tree = {}
            for _ in range(self._chance.randrange(4)):
                tree[self._name()] = self._node()
            return Node(self._chance.choice((b"40000", b"40000", b"040000")), tree=tree)
        number = b"%d\n" % self._chance.randrange(1000)
        return Node(self._chance.choice(_MODES), self._chance.choice(_CONTENTS) + number)

    # --- objects ----------------------------------------------------------------------------------

    def _write_tree(self, tree: Tree) -> bytes:
        def order(item: tuple[bytes, Node]) -> bytes:
            return item[0] + (b"/" if item[1].is_tree else b"")

        lines = []
        for name, node in sorted(tree.items(), key=order):
            if node.is_tree:
                written = self._write_tree(node.tree)
            elif node.mode == b"160000":
                written = bytes.fromhex(node.content.decode())
            else:
                written = self._write(b"blob", node.content)
            lines.append(b"%s %s\0%s" % (node.mode, name, written))
        return self._write(b"tree", b"".join(lines))

    def _write(self, kind: bytes, content: bytes) -> bytes:
        whole = b"%s %d\0%s" % (kind, len(content), content)
        written = sha1(whole, usedforsecurity=False)
        path = self._path / "objects" / written.hexdigest()[:2] / written.hexdigest()[2:]
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(whole, 0))
        return written.digest()
