"""What `.gitattributes` does to an archive (gitattributes(5)): may entries be copied, and how read?

An entry may be copied from an older archive only if it depends on its blob and path alone. Given
that no `.gitattributes` differs between the two trees, line ends, `ident`, encodings and
`export-ignore` are such functions: the same blob at the same path becomes the same entry.
`export-subst` is not: it writes the commit's id into the entry. Filters are none, because no driver
is configured where archives are made; and the content of a file of Git LFS follows from its blob.

What is read here errs on one side only: a word counts wherever it stands.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from stat import S_ISREG
from typing import Final

FILE_NAME: Final = b".gitattributes"

_SUBSTITUTES: Final = b"export-subst"
_CONVERTS: Final = (b"export-ignore", b"ident", b"filter", b"working-tree-encoding")
_LINE_ENDS: Final = b"eol"


class Effect(StrEnum):
    """The most that a tree's attributes do to its archive."""

    NONE = "none"  # an entry's bytes are its blob's bytes
    CONVERT = "convert"  # git must make the entries, but from blob and path alone
    SUBSTITUTE = "substitute"  # some entries depend on the commit
    UNKNOWN = "unknown"  # a `.gitattributes` that is no file


def is_attributes(path: bytes) -> bool:
    """Is this the path of a `.gitattributes`, or of something below one?"""
    return FILE_NAME in path and FILE_NAME in path.split(b"/")


def digest_of(files: Mapping[bytes, tuple[int, str]]) -> str:
    """Equal for equal modes and object ids of all `.gitattributes` by path."""
    lines = sorted(
        b"%o %s %s" % (mode, name.encode(), path) for path, (mode, name) in files.items()
    )
    return hashlib.sha256(b"\0".join(lines)).hexdigest()[:32]


def effect_of(modes: Iterable[int], contents: Iterable[bytes]) -> Effect:
    """What the `.gitattributes` of a tree, of these modes and contents, do to its archive."""
    if not all(S_ISREG(mode) for mode in modes):
        return Effect.UNKNOWN
    effect = Effect.NONE
    for content in contents:
        for word in content.split():
            if _SUBSTITUTES in word:
                return Effect.SUBSTITUTE
            if _changes(word):
                effect = Effect.CONVERT
    return effect


def _changes(word: bytes) -> bool:
    """Line ends: without `eol=crlf` nothing is converted on the way out, as `core.eol` is lf."""
    name, _, value = word.lstrip(b"!-").partition(b"=")
    if name == _LINE_ENDS:
        return value != b"lf"
    return any(each in word for each in _CONVERTS)
