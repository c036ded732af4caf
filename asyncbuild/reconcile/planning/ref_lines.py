r"""Refs of a repository as sorted lines of bytes: read from `git ls-remote`, and compared. Pure.

A line is `ID NAME\\n`, as in git's packed-refs. 100,000 refs are some megabytes so, and a tenth of
what a dictionary of them takes; two listings are compared by going through both at once.
"""

import re
from collections.abc import Iterator
from itertools import islice, zip_longest
from typing import Final

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.refs import REF_BYTES_MOST, is_ref_name

BYTES_MOST: Final = 64 * 1024 * 1024
_HEADS: Final = b"refs/heads/"
_TAGS: Final = b"refs/tags/"
_PEELED: Final = b"^{}"  # behind the name of an annotated tag: the object that it points at
_ID: Final = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")


class RefReader:
    """Reader of the output of `git ls-remote`, in pieces of any size.

    Refs that are neither branches nor wanted tags are left out, and names that git or an event
    could not have. The lines that annotated tags peel to are kept apart.

    Args:
        tags: Whether tags are wanted.
        bytes_most: Most bytes of output.
    """

    def __init__(self, *, tags: bool, bytes_most: int = BYTES_MOST) -> None:
        self._below = (_HEADS, _TAGS) if tags else (_HEADS,)
        self._bytes_most = bytes_most
        self._read = 0
        self._rest = b""
        self._lines: list[bytes] = []
        self._peeled: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        """Take the next piece of output.

        Raises:
            Reject: There is more output than is read.
        """
        self._read += len(piece)
        if self._read > self._bytes_most:
            raise Reject(
                f"the list of refs is longer than {self._bytes_most} bytes",
                remedy="delete refs that are not needed any more",
            )
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self._lines += [kept for line in lines if (kept := self._keep(line))]

    def end(self) -> bytes:
        """Return all refs that were kept, sorted by name; of a name that came twice the last."""
        lines, self._lines = self._lines, []
        return _join(lines)

    def end_peeled(self) -> bytes:
        """Return the annotated tags at the objects that they point at, sorted by name."""
        lines, self._peeled = self._peeled, []
        return _join(lines)

    def _keep(self, line: bytes) -> bytes:
        if line.endswith(_PEELED) and (kept := self._keep(line.removesuffix(_PEELED))):
            self._peeled.append(kept)
            return b""
        id_, _, name = line.partition(b"\t")
        if not name.startswith(self._below) or not _ID.fullmatch(id_):
            return b""
        if len(name) > REF_BYTES_MOST or not _is_legal(name):
            return b""
        return b"%s %s\n" % (id_, name)


def iter_refs(lines: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and id of each ref."""
    for line in _iter_lines(lines):
        id_, _, name = line.partition(b" ")
        yield name.decode(), id_.decode()


def count_refs(lines: bytes) -> int:
    """Return the number of refs."""
    return lines.count(b"\n")


def without_tags(lines: bytes) -> bytes:
    """Return the refs that are no tags."""
    return b"".join(
        b"%s\n" % line for line in _iter_lines(lines) if not _name_of(line).startswith(_TAGS)
    )


def differences(old: bytes, new: bytes) -> Iterator[tuple[str, str, str]]:
    """Yield name, old id and new id of each ref that differs; an id is empty without the ref.

    Args:
        old: Refs as they were.
        new: Refs as they are.
    """
    if old == new:
        return
    before, after = _iter_lines(old), _iter_lines(new)
    left, right = next(before, b""), next(after, b"")
    while left or right:
        if left == right:
            left, right = next(before, b""), next(after, b"")
            continue
        name, other = _name_of(left), _name_of(right)
        gone = bool(left) and (not right or name < other)
        made = bool(right) and (not left or other < name)
        yield (
            (name if gone else other).decode(),
            "" if made else _id_of(left),
            "" if gone else _id_of(right),
        )
        left = left if made else next(before, b"")
        right = right if gone else next(after, b"")


def replaced(lines: bytes, changes: dict[str, str]) -> bytes:
    """Return refs with some of them at other ids; an empty id takes the ref out.

    Args:
        lines: The refs.
        changes: Ids by name.
    """
    if not changes:
        return lines
    named = {name.encode(): id_.encode() for name, id_ in changes.items()}
    kept = [b"%s\n" % line for line in _iter_lines(lines) if _name_of(line) not in named]
    kept += [b"%s %s\n" % (id_, name) for name, id_ in named.items() if id_]
    kept.sort(key=_name_of)
    return b"".join(kept)


def are_ref_lines(lines: bytes) -> bool:
    """Return whether bytes are lines of refs, sorted by name, each name once."""
    last = b""
    if lines and not lines.endswith(b"\n"):
        return False
    for line in _iter_lines(lines):
        id_, _, name = line.partition(b" ")
        if not _ID.fullmatch(id_) or name <= last or not _is_legal(name):
            return False
        last = name
    return True


def _join(lines: list[bytes]) -> bytes:
    """Return lines sorted by name, each name once: others are no lines of refs."""
    lines.sort(key=_name_of)
    after = zip_longest(lines, islice(lines, 1, None), fillvalue=b"")
    return b"".join(line for line, other in after if _name_of(line) != _name_of(other))


def _iter_lines(lines: bytes) -> Iterator[bytes]:
    """Yield the lines one by one: a list of all of them would take many times their bytes."""
    begin = 0
    while (end := lines.find(b"\n", begin)) >= 0:
        yield lines[begin:end]
        begin = end + 1


def _name_of(line: bytes) -> bytes:
    return line.partition(b" ")[2].rstrip(b"\n")


def _id_of(line: bytes) -> str:
    return line.partition(b" ")[0].decode()


def _is_legal(name: bytes) -> bool:
    try:
        return is_ref_name(name.decode())
    except UnicodeDecodeError:
        return False
