"""Lines of `git ls-tree -z` and the entries that they name. Pure."""

from binascii import unhexlify
from collections.abc import Sequence
from typing import Final, NamedTuple

REGULAR_MODES: Final = frozenset({0o100644, 0o100755})  # of files that are not links

_KIND_AT: Final = len("100644 ")
_BLOB: Final = ord("b")  # blob, tree, commit
_ID_BEGINS: Final = len("100644 blob ")


# Mode, type, object id, size and path as git writes them. The size is empty without `-l`, and `-`
# if the entry is not a blob. A plain tuple, for speed.
TreeLine = tuple[bytes, bytes, bytes, bytes, bytes]


class TreeEntry(NamedTuple):
    """An entry of a tree: a blob, a symbolic link, a tree or a submodule's commit."""

    mode: int
    kind: str
    object_id: str
    path: bytes


def split_line(line: bytes) -> TreeLine:
    """Cut `<mode> <type> <id>`, with `-l` a size, a tab, `<path>` (git-ls-tree(1))."""
    facts, _, path = line.partition(b"\t")
    mode, kind, object_id, *size = facts.split()
    return mode, kind, object_id, size[0] if size else b"", path


def parse_entry(line: bytes) -> TreeEntry:
    """Parse a line without a size; separate from `split_line`, for speed."""
    facts, _, path = line.partition(b"\t")
    mode, kind, object_id = facts.decode().split()
    return TreeEntry(int(mode, 8), kind, object_id, path)


def parse_lines(lines: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return names as an archive has them, and raw ids of blobs, from lines without a size.

    The archive waits for up to a hundred thousand lines at a time, so each step handles all of them
    at once. A directory's name ends in a slash; the id is empty if the entry is not a blob.
    """
    facts, _, _ = lines[0].partition(b"\t")
    digits = len(facts.rsplit(b" ", 1)[1])
    id_end = _ID_BEGINS + digits
    name_begins = id_end + 1
    names = [line[name_begins:] for line in lines]
    hexes = [line[_ID_BEGINS:id_end] for line in lines]
    others = [number for number, line in enumerate(lines) if line[_KIND_AT] != _BLOB]
    for number in others:
        names[number] = lines[number].partition(b"\t")[2] + b"/"
        hexes[number] = b"0" * digits
    raw, nbytes = unhexlify(b"".join(hexes)), digits // 2
    ids = [raw[begin : begin + nbytes] for begin in range(0, len(raw), nbytes)]
    for number in others:
        ids[number] = b""
    return names, ids
