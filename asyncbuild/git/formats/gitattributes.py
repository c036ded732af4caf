"""`.gitattributes` of a tree, found in the lists of its paths that git prints. Pure.

`git archive` reads the attributes of a tree from an index, into which it first reads the whole
tree; that takes longer than all else before its first byte. With `--worktree-attributes` it reads
them from files instead. Both make the same archive only if the files are those of the tree, git
reads the same from a file as from an index, and the index would have accepted the tree: it accepts
no path that could leave a working tree. If any of this is in doubt, the functions here return that
files cannot be used.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from asyncbuild.git.formats.tree_lines import REGULAR_MODES, split_line

NAME: Final = b".gitattributes"

# Paths that verify_path() of git's read-cache.c may refuse, on any system, and some more. Each path
# is between a tab or a zero and a zero; a backslash may separate its parts, as on Windows.
DOUBTFUL: Final = re.compile(
    rb"""
    [/\\\t\0]
    (?: \.{0,2} [/\\\0]             # no name, "." and ".."
      | \.git (?! [a-z0-9_-] )      # .git, and what Windows takes for it: ".git ", ".git:x"
      | \.gitmodules (?! [/\0] )
    )
    | ~[0-9]                        # short names of Windows: git~1, gi7eba~1
    # Characters that macOS overlooks in names (next_hfs_char() of git's utf8.c).
    | \xe2\x80[\x8c-\x8f\xaa-\xae] | \xe2\x81[\xaa-\xaf] | \xef\xbb\xbf
    """,
    re.IGNORECASE | re.VERBOSE,
)
# The same for text without these characters, in a tenth of the time: each pattern begins with a
# literal that is found without backtracking (for a dot, a look-behind then checks what precedes
# it).
_RARE: Final = (b"\\", b"~", b"\xe2", b"\xef")
_DOUBTFUL_PLAIN: Final = (
    re.compile(rb"/[/\0]"),
    re.compile(rb"\t[/\0]"),
    re.compile(rb"\0[/\0]"),
    re.compile(
        rb"\. (?<= [/\t\0]\. ) (?: \.? [/\0] | [Gg][Ii][Tt] (?! [A-Za-z0-9_-] )"
        rb"| [Gg][Ii][Tt][Mm][Oo][Dd][Uu][Ll][Ee][Ss] (?! [/\0] ) )",
        re.VERBOSE,
    ),
)
_LINK_MODE: Final = b"120000 "
_LINKED: Final = b".gitmodules"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class TreeListing:
    """Finder of the `.gitattributes` in the output of `git ls-tree -r -z`, fed in pieces.

    Attributes:
        files: Object ids of all `.gitattributes`, by path.
        paths: Number of paths so far.
        usable: Whether the archive is the same with these as files.
    """

    def __init__(self) -> None:
        self.files: dict[bytes, str] = {}
        self.paths = 0
        self.usable = True
        self._rest = b""

    def feed(self, piece: bytes) -> None:
        """Parse the next piece."""
        lines, end, self._rest = (self._rest + piece).rpartition(b"\0")
        lines += end
        self.paths += lines.count(b"\0")
        if holds_doubtful(lines):
            self.usable = False
        elif NAME in lines:
            for line in lines.split(b"\0"):
                if NAME in line:
                    self._add(line)

    def _add(self, line: bytes) -> None:
        mode, _, blob, _, path = split_line(line)
        *above, last = path.split(b"/")
        if NAME in above or path in self.files:
            self.usable = False
        elif last == NAME:
            self.usable &= int(mode, 8) in REGULAR_MODES
            self.files[path] = blob.decode()


def parse_alike(answer: bytes, asked: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the trees that can be archived with the attribute files of another.

    Args:
        answer: Whole output of `git diff-tree --stdin -r -z --raw --no-renames`.
        asked: Its lines of input: a tree that can be archived with files, and one in question.

    Returns:
        Lines whose trees differ in no `.gitattributes` and no doubtful path. Lines with a tree that
        git does not know are not among them.
    """
    alike = set()
    at = 0
    for known, tree in asked:
        head = f"{known} {tree}\n".encode()
        if not answer.startswith(head, at):
            continue
        begin = at = at + len(head)
        attributes = False
        while answer.startswith(b":", at):  # `:<modes> <ids> <status>`, zero, `<path>`, zero
            path_begin = answer.index(b"\0", at) + 1
            at = answer.index(b"\0", path_begin) + 1
            attributes |= NAME in answer[path_begin : at - 1].split(b"/")
        if not attributes and not holds_doubtful(answer[begin:at]):
            alike.add((known, tree))
    return alike


def is_doubtful(entries: Iterable[tuple[int, bytes]]) -> bool:
    """Return whether git may refuse to archive one of these entries, by their modes and paths."""
    return holds_doubtful(b"".join(b"%o \t%s\0" % entry for entry in entries))


def holds_doubtful(text: bytes) -> bool:
    """Return whether `DOUBTFUL` matches anywhere, or a link is at `.gitmodules`.

    `DOUBTFUL` alone takes 80 ms for 28,000 paths.
    """
    if holds_link(text):
        return True
    if any(each in text for each in _RARE):
        return DOUBTFUL.search(text) is not None
    return any(each.search(text) for each in _DOUBTFUL_PLAIN)


def holds_link(text: bytes) -> bool:
    """Return whether `.gitmodules` follows the mode of a link, with at most one zero in between.

    Not a regular expression: for a name that repeats the mode it would try every pair of positions.

    Args:
        text: Lines of `git ls-tree -z`, or of `git diff-tree -z`, where a zero precedes the path,
            too.
    """
    if _LINK_MODE not in text:
        return False
    lowered = text.lower()
    if _LINKED not in lowered:
        return False
    linked = False  # the part before this one has the mode
    for part in lowered.split(b"\0"):
        mode, name = part.find(_LINK_MODE), part.rfind(_LINKED)
        if name >= 0 and (linked or 0 <= mode < name):
            return True
        linked = mode >= 0
    return False


def are_readable(contents: Iterable[bytes]) -> bool:
    """Return whether git reads the same from files as from blobs (read_attr() of its attr.c)."""
    return not any(b"\0" in each or each.startswith(_BYTE_ORDER_MARK) for each in contents)


def digest_of(files: Mapping[bytes, bytes], *more: str) -> str:
    """Return a digest that is equal for equal contents by path, and equal `more`."""
    parts: Sequence[bytes] = [
        *(each.encode() for each in more),
        *(part for path in sorted(files) for part in (path, files[path])),
    ]
    return sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).hexdigest()[:32]


# As long as core.eol is lf and no filter has a driver (`gitconfig`), `text` and `eol=lf` convert
# nothing on the way out (convert.c of git), nor does a filter; a filter counts here to be on the
# safe side.
_CONVERTS: Final = re.compile(rb"\beol=(?!lf\b)|ident|filter|working-tree-encoding|export-subst")


def converts(contents: Iterable[bytes]) -> bool:
    """Return whether these `.gitattributes` may convert a file on the way out, or write into it."""
    return any(_CONVERTS.search(each) is not None for each in contents)
