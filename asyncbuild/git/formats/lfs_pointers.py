"""LFS pointers: files in a tree that name a large content (git-lfs, docs/spec.md). Pure.

The specification defines how a pointer is written. The parser accepts what git-lfs reads
(DecodeFrom in its lfs/pointer.go), which is more: names of earlier years, blank lines, white space
around.
"""

import re
from dataclasses import dataclass
from typing import Final

from asyncbuild.domain.errors import Reject

POINTER_BYTES_MOST: Final = 1024  # the specification's limit
_VERSIONS: Final = frozenset(
    {
        b"http://git-media.io/v/2",
        b"https://hawser.github.com/spec/v1",
        b"https://git-lfs.github.com/spec/v1",
    }
)
_KEYS: Final = (b"version", b"oid", b"size")
_EXTENSION: Final = re.compile(rb"ext-\d-\w")
_OID: Final = re.compile(rb"sha256:([0-9a-f]{64})")
_SIZE: Final = re.compile(rb"\+?\d+|-0+")  # as strconv.ParseInt of Go reads it
_SIZE_MOST: Final = 2**63 - 1
# Characters that unicode.IsSpace of Go accepts; str.strip() has others.
_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


@dataclass(frozen=True, slots=True)
class Pointer:
    """SHA-256 of a file's content, in hex, and its length in bytes."""

    oid: str
    size: int

    @property
    def path(self) -> str:
        """Path at which git-lfs keeps the content, below `lfs/objects`."""
        return f"{self.oid[:2]}/{self.oid[2:4]}/{self.oid}"


def parse_pointer(content: bytes) -> Pointer | None:
    """Return the pointer in a file; None if it is none, such as a file committed without LFS.

    Raises:
        Reject: The content went through an extension of git-lfs, which is not known here.
    """
    if len(content) > POINTER_BYTES_MOST:
        return None
    text = content.decode("utf-8", "surrogateescape").strip(_SPACE)
    values: list[bytes] = []
    extended = False
    for ended in text.encode("utf-8", "surrogateescape").split(b"\n"):
        line = ended.removesuffix(b"\r")
        if not line:
            continue
        key, space, value = line.partition(b" ")
        if not space or len(values) == len(_KEYS):
            return None
        if key == _KEYS[len(values)]:
            values.append(value)
        elif _EXTENSION.match(key):
            extended = True
        else:
            return None
    return _pointer(values, extended=extended) if len(values) == len(_KEYS) else None


def _pointer(values: list[bytes], *, extended: bool) -> Pointer | None:
    version, oid, size = values
    found = _OID.fullmatch(oid)
    if version not in _VERSIONS or found is None or not _SIZE.fullmatch(size):
        return None
    if int(size) > _SIZE_MOST:
        return None
    if extended:
        raise Reject(
            "it is stored by a git-lfs extension, which only its own program can read",
            remedy='leave it out with `paths`, or set lfs = "pointers"',
        )
    return Pointer(found[1].decode(), int(size))
