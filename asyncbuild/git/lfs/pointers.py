"""What stands in a tree for a large file: a pointer (git-lfs, docs/spec.md). Pure."""

import re
from dataclasses import dataclass
from typing import Final

from asyncbuild.errors import Reject

POINTER_BYTES_MOST: Final = 1024  # no longer file is one, says the specification
_POINTER: Final = re.compile(
    rb"""
    version\ https://(?:git-lfs\.github|hawser\.github)\.com/spec/v1 \r?\n
    (?P<extensions> (?:ext-\d-\S+\ \S+ \r?\n)* )
    oid\ sha256:(?P<oid>[0-9a-f]{64}) \r?\n
    size\ (?P<size>\d{1,19}) \s*
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Pointer:
    """The SHA-256 of a file's content, in hex, and its length in bytes."""

    oid: str
    size: int

    @property
    def path(self) -> str:
        """Where git-lfs keeps the content, below `lfs/objects`."""
        return f"{self.oid[:2]}/{self.oid[2:4]}/{self.oid}"


def parse_pointer(content: bytes) -> Pointer | None:
    """What a file points at; None if it is no pointer, as a file that was committed as it is.

    Raises:
        Reject: the content went through an extension of git-lfs, which is not known here.
    """
    found = _POINTER.fullmatch(content) if len(content) <= POINTER_BYTES_MOST else None
    if found is None:
        return None
    if found["extensions"]:
        raise Reject(
            "it is stored by a git-lfs extension, which only its own program can read",
            remedy='leave it out with `paths`, or set lfs = "pointers"',
        )
    return Pointer(found["oid"].decode(), int(found["size"]))
