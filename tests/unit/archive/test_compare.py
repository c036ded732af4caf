"""Directories that a delta adds, keeps, drops or has git read again."""

import struct

import pytest

from asyncbuild.archive.delta.compare import Comparison, Difference
from asyncbuild.archive.delta.planning.attributes import Effect
from asyncbuild.archive.delta.planning.entry_table import Table, parse_directory
from asyncbuild.git.formats.tree_lines import TreeEntry
from asyncbuild.git.tree.changes import TreeChange

_ID = "1" * 40


def _table(*names: bytes) -> Table:
    """Central headers from the specification (APPNOTE 4.3.12), with ids for files."""
    headers = b""
    for number, name in enumerate(names):
        is_directory = name.endswith(b"/")
        extra = b"" if is_directory else b"GB" + struct.pack("<H", 20) + bytes.fromhex(_ID)
        mode = 0o040775 if is_directory else 0o100664
        headers += struct.pack(
            "<4sHHHHLLLLHHHHHLL",
            *(b"PK\x01\x02", 0x33F, 20, 0, 8, 0, 7, 1, 1, len(name), len(extra), 0, 0, 0),
            *(mode << 16, number),
        )
        headers += name + extra
    return parse_directory(headers, len(names))


def _tree(path: bytes) -> TreeEntry:
    return TreeEntry(0o040000, "tree", _ID, path)


def _file(path: bytes) -> TreeEntry:
    return TreeEntry(0o100644, "blob", _ID, path)


def _module(path: bytes) -> TreeEntry:
    return TreeEntry(0o160000, "commit", _ID, path)


def _kept(path: bytes) -> TreeChange:
    return TreeChange(_tree(path), _tree(path))


def _gone(entry: TreeEntry) -> TreeChange:
    return TreeChange(entry, None)


def _new(entry: TreeEntry) -> TreeChange:
    return TreeChange(None, entry)


@pytest.mark.parametrize(
    ("names", "changes", "removed", "fresh"),
    [
        # an empty tree appears, and disappears
        ([b"f"], [_new(_tree(b"e"))], set(), []),
        ([b"f"], [_gone(_tree(b"e"))], set(), []),
        # a directory loses its last file, and gets its first
        ([b"d/", b"d/f"], [_kept(b"d"), _gone(_file(b"d/f"))], {b"d/", b"d/f"}, []),
        ([b"f"], [_kept(b"d"), _new(_file(b"d/f"))], set(), [b"d/", b"d/f"]),
        # another one stays in it, be it a submodule
        ([b"d/", b"d/f", b"d/g"], [_kept(b"d"), _gone(_file(b"d/f"))], {b"d/f"}, []),
        ([b"d/", b"d/f", b"d/m/"], [_kept(b"d"), _gone(_file(b"d/f"))], {b"d/f"}, []),
        # something for something else
        (
            [b"d/", b"d/f"],
            [_kept(b"d"), _gone(_file(b"d/f")), _new(_module(b"d/m"))],
            {b"d/f"},
            [b"d/m/"],
        ),
        ([b"m/"], [_gone(_module(b"m")), _new(_tree(b"m"))], {b"m/"}, []),
    ],
)
def test_directories_without_attributes(
    names: list[bytes], changes: list[TreeChange], removed: set[bytes], fresh: list[bytes]
) -> None:
    """Without attributes, a directory is in the archive where any other entry is below it."""
    difference = Difference()
    difference.add_changes(changes)
    difference.settle(_table(*names), Effect.NONE)
    assert (difference.removed, list(difference.fresh)) == (removed, fresh)


def test_directories_that_only_git_can_decide_are_read_again() -> None:
    """Git writes the directory of a file marked `export-ignore`, and not a directory so marked.

    Nothing is left below either directory, so git decides both.
    """
    difference = Difference()
    names = [b"d/", b"d/e/"]  # d/e/hidden was a file, which is not in the archive
    changes = [
        *(_kept(b"d"), _kept(b"d/e"), _gone(_file(b"d/e/hidden"))),
        *(_new(_tree(b"d/e/hidden")), _new(_file(b"d/e/hidden/f"))),
    ]
    difference.add_changes(changes)
    difference.settle(_table(*names), Effect.CONVERT)
    assert {b"d/", b"d/e/"} < difference.removed
    assert {b"d/", b"d/e/"} < difference.fresh.keys()


@pytest.mark.parametrize("effect", [Effect.NONE, Effect.CONVERT])
def test_a_directory_that_became_a_submodule(effect: Effect) -> None:
    """The directory becomes a submodule of the same name.

    The directory above stays, or git decides.
    """
    comparison = Comparison(_table(b"d/", b"d/m/", b"d/m/f", b"f"))
    comparison.add([_tree(b"d"), _module(b"d/m"), _file(b"f")])
    difference = comparison.finish(effect)
    assert {b"d/m/", b"d/m/f"} <= difference.removed
    assert b"d/m/" in difference.fresh
    assert (b"d/" in difference.removed) == (b"d/" in difference.fresh)


def test_empty_trees_are_not_in_a_comparison() -> None:
    """Empty trees are left out at any depth; where one replaces something, nothing stays."""
    comparison = Comparison(_table(b"d/", b"d/f", b"f", b"m/"))
    comparison.add([_tree(b"d"), _tree(b"d/e"), _tree(b"d/e/e"), _file(b"f"), _tree(b"m")])
    difference = comparison.finish(Effect.NONE)
    assert (difference.removed, difference.fresh) == ({b"d/", b"d/f", b"m/"}, {})
