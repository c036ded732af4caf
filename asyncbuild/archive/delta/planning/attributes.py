"""Effects of `.gitattributes` on an archive: may entries be copied, and how are they read? Pure.

See gitattributes(5). An entry may be copied from an older archive only if it depends on its blob
and path alone. If no `.gitattributes` differs between the two trees, that holds for line ends,
`ident`, encodings and `export-ignore`: the same blob at the same path becomes the same entry. It
does not hold for `export-subst`, which writes the commit's id into the entry. Filters have no
effect, because no driver is configured where archives are made; the content of a file of Git LFS
follows from its blob.

The parser errs on one side only: a word counts wherever it stands.
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
    """Strongest effect of a tree's attributes on its archive."""

    NONE = "none"  # an entry's bytes are its blob's bytes
    CONVERT = "convert"  # git must make the entries, but from blob and path alone
    SUBSTITUTE = "substitute"  # some entries depend on the commit
    UNKNOWN = "unknown"  # a `.gitattributes` is not a regular file


def is_attributes(path: bytes) -> bool:
    """Return whether this is the path of a `.gitattributes`, or of something below one."""
    return FILE_NAME in path and FILE_NAME in path.split(b"/")


def digest_of(files: Mapping[bytes, tuple[int, str]]) -> str:
    """Return a digest that is equal if modes, object ids and paths of all files are equal.

    Args:
        files: Modes and object ids of all `.gitattributes`, by path.
    """
    lines = sorted(
        b"%o %s %s" % (mode, name.encode(), path) for path, (mode, name) in files.items()
    )
    return hashlib.sha256(b"\0".join(lines)).hexdigest()[:32]


def effect_of(modes: Iterable[int], contents: Iterable[bytes]) -> Effect:
    """Return the effect of `.gitattributes` with these modes and contents on an archive."""
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
    """Return whether a word of a `.gitattributes` may change contents.

    Line ends are not converted without `eol=crlf`, because `core.eol` is lf.
    """
    name, _, value = word.lstrip(b"!-").partition(b"=")
    if name == _LINE_ENDS:
        return value != b"lf"
    return any(each in word for each in _CONVERTS)
