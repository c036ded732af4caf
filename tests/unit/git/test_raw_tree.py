"""Summaries of trees, found by reading as few of them as possible."""

from collections.abc import Mapping, Sequence
from hashlib import sha1, sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncbuild.git.formats.raw_tree import (
    AttributeFile,
    RawEntry,
    TreeSummary,
    TreeWalk,
    UnsuitableError,
    parse_tree,
)

_NAMES = st.sampled_from([b".gitattributes", b"a", b"b c", b"d\n", b"\xff", b" ", b"40000 x"])
_LEAVES = st.sampled_from([0o100644, 0o100755, 0o100664, 0o120000, 0o160000])
Tree = Mapping[bytes, "int | Tree"]
_TREES: st.SearchStrategy[Tree] = st.recursive(
    st.dictionaries(_NAMES, _LEAVES, max_size=4),
    lambda below: st.dictionaries(_NAMES, _LEAVES | below, max_size=4),
    max_leaves=20,
)


class _Store:
    """Tree objects by id; counts what is read."""

    def __init__(self, object_format: str = "sha1") -> None:
        self._hash = sha1 if object_format == "sha1" else sha256
        self.objects: dict[str, bytes] = {}
        self.read: list[str] = []

    def add(self, entries: Sequence[tuple[int, bytes, str]]) -> str:
        """Add a tree object and return its id."""
        content = b"".join(
            b"%o %s\0" % (mode, name) + bytes.fromhex(id_) for mode, name, id_ in entries
        )
        id_ = self._hash(content).hexdigest()
        self.objects[id_] = content
        return id_

    def add_tree(self, tree: Tree) -> str:
        """Add a tree with all below it."""
        return self.add(
            [
                (each, name, self._hash(name).hexdigest())
                if isinstance(each, int)
                else (0o40000, name, self.add_tree(each))
                for name, each in tree.items()
            ]
        )

    def walk(self, tree: str, known: dict[str, TreeSummary], most: int = 4000) -> TreeSummary:
        """Sum up a tree."""
        walk = TreeWalk(tree, known, entries_most=most)
        while walk.wanted:
            self.read += walk.wanted
            walk.feed([self.objects[each] for each in walk.wanted])
        return walk.finish()


def _count(tree: Tree, above: bytes = b"") -> tuple[int, int, list[bytes]]:
    entries, files, attributes = len(tree), 0, list[bytes]()
    for name, each in tree.items():
        if isinstance(each, int):
            files += 1
            if name == b".gitattributes" and each != 0o160000:
                attributes.append(above + name)
        else:
            below = _count(each, above + name + b"/")
            entries, files = entries + below[0], files + below[1]
            attributes += below[2]
    return entries, files, attributes


@given(st.lists(_TREES, max_size=4), st.sampled_from(["sha1", "sha256"]))
def test_a_summary_has_the_counts_of_the_whole_tree(trees: list[Tree], format_: str) -> None:
    """Also if parts of it were summed up before."""
    store, known = _Store(format_), dict[str, TreeSummary]()
    for tree in trees:
        entries, files, attributes = _count(tree)
        found = store.walk(store.add_tree(tree), known)
        assert (found.entries, found.files) == (entries, files)
        assert [each.path for each in found.attributes] == attributes
    assert len(store.read) == len(set(store.read))  # none is read twice


def test_only_changed_directories_are_read() -> None:
    """A push costs as much as it changes, whatever the size of its repository."""
    store, known = _Store(), dict[str, TreeSummary]()
    wide: dict[bytes, int | Tree] = {b"%d" % at: {b"%d" % at: 0o100644} for at in range(100)}
    store.walk(store.add_tree(wide), known)
    store.read.clear()
    assert store.walk(store.add_tree({**wide, b"7": {b"x": 0o100644}}), known).entries == 200
    assert len(store.read) == 2


def test_a_small_object_that_is_a_huge_tree_is_given_up() -> None:
    """Ten directories, each ten times in the next one, are ten billion entries."""
    store = _Store()
    tree = store.add([(0o100644, b".gitattributes", "1" * 40)])
    for _ in range(10):
        tree = store.add([(0o40000, b"%d" % at, tree) for at in range(10)])
    with pytest.raises(UnsuitableError):
        store.walk(tree, {})


def test_a_deep_tree_is_given_up() -> None:
    """Depth counts, also if each of its directories is found near the top, too."""
    store = _Store()
    chain = [store.add([])]
    for _ in range(300):
        chain.append(store.add([(0o40000, b"d", chain[-1])]))
    with pytest.raises(UnsuitableError, match="directories"):
        store.walk(chain[-1], {})
    wide = [(0o40000, b"%d" % at, each) for at, each in enumerate(reversed(chain))]
    with pytest.raises(UnsuitableError, match="directories"):
        store.walk(store.add(wide), {}, 100_000)


def test_a_large_tree_is_given_up_before_all_of_it_is_read() -> None:
    """Git lists it faster."""
    store = _Store()
    tree = store.add_tree({b"%d" % at: {b"a%d" % at: 0o100644, b"b": 0o100644} for at in range(50)})
    assert store.walk(tree, {}, 150).entries == 150
    with pytest.raises(UnsuitableError, match="more than 149"):
        store.walk(tree, {}, 149)


@pytest.mark.parametrize(
    "content",
    [
        b"100644 a\0" + bytes(19),
        b"100644 a",
        b"100644",
        b"100644 \0" + bytes(20),
        b"100640 a\0" + bytes(20),
        b"040000 a\0" + bytes(20),
        b" a\0" + bytes(20),
        b"100644 a/b\0" + bytes(20),
        b"100644 a\0" + bytes(20) + b"x",
    ],
)
def test_an_odd_tree_is_left_to_git(content: bytes) -> None:
    """Git reads some of them in its own way, and refuses others."""
    with pytest.raises(UnsuitableError):
        parse_tree(content, 20)


def test_attributes_have_their_whole_paths() -> None:
    """Equal trees are counted once for each path, and read by their ids."""
    store = _Store()
    below = store.add([(0o100644, b".gitattributes", "2" * 40), (0o100644, b"f", "3" * 40)])
    tree = store.add([(0o100644, b".gitattributes", "1" * 40), (0o40000, b"d", below)])
    assert store.walk(tree, {}).attributes == (
        AttributeFile(b".gitattributes", "1" * 40),
        AttributeFile(b"d/.gitattributes", "2" * 40),
    )
    assert parse_tree(store.objects[below], 20)[1] == RawEntry(0o100644, b"f", "3" * 40)
