"""Size of the work that a tree gives `git archive`: its entries and its `.gitattributes`.

git holds all of them in memory before its first byte, so they are counted before it is started.
"""

import re
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from asyncbuild.domain.errors import Reject
from asyncbuild.git.formats.gitattributes import NAME

_PATTERN: Final = re.compile(rb"^[ \t\r]*[^# \t\r\n]", re.MULTILINE)  # gitattributes(5)
_REMEDY: Final = "archive less of it, or raise the setting"


class Most(Protocol):
    """The settings: the most of each that an archive may have."""

    @property
    def entries_most(self) -> int:
        """Files and directories."""

    @property
    def attribute_bytes_most(self) -> int:
        """Length of all `.gitattributes`."""

    @property
    def attribute_patterns_most(self) -> int:
        """Lines in them that are no comments."""


class Sum(NamedTuple):
    """Counts of some `.gitattributes`."""

    nbytes: int
    patterns: int


def sum_up(contents: Iterable[bytes]) -> Sum:
    """Return length and number of patterns of all of these `.gitattributes`."""
    lengths = [(len(each), sum(1 for _ in _PATTERN.finditer(each))) for each in contents]
    return Sum(sum(each for each, _ in lengths), sum(each for _, each in lengths))


def check_attributes(files: Mapping[bytes, str], by_id: Mapping[str, bytes], most: Most) -> None:
    """Refuse attributes that are more than the settings allow.

    Args:
        files: Object ids of all `.gitattributes`, by path; git reads one for each path.
        by_id: Their contents.
        most: The settings.

    Raises:
        Reject: they are more; names the setting and its value.
    """
    nbytes, patterns = sum_up(by_id[each] for each in files.values())
    if nbytes > most.attribute_bytes_most:
        raise too_long(most)
    if patterns > most.attribute_patterns_most:
        raise Reject(
            f"its .gitattributes have {patterns} patterns, and git.attribute_patterns_most is "
            f"{most.attribute_patterns_most}",
            remedy=_REMEDY,
        )


def too_long(most: Most) -> Reject:
    """Return what is raised for `.gitattributes` that are too long."""
    return Reject(
        "its .gitattributes are longer than git.attribute_bytes_most = "
        f"{most.attribute_bytes_most} bytes",
        remedy=_REMEDY,
    )


class Counted:
    """Counts entries as they are listed.

    Raises:
        Reject: from `add`: there are more than `entries_most`.
    """

    def __init__(self, most: Most) -> None:
        self._most = most.entries_most
        self._entries = 0

    def add(self, entries: int) -> None:
        """Count so many more."""
        self._entries += entries
        if self._entries > self._most:
            raise Reject(
                f"its tree has more than {self._most} entries, the most by git.entries_most",
                remedy=_REMEDY,
            )


async def find_attributes(chunks: AsyncIterable[bytes], most: Most) -> dict[bytes, str]:
    """Return ids of all `.gitattributes` by path, from `git ls-tree -r -t -z` while counting.

    Raises:
        Reject: the tree has too many entries; what is behind is not read.
    """
    counted = Counted(most)
    files: dict[bytes, str] = {}
    rest = b""
    async for chunk in chunks:
        lines, end, rest = (rest + chunk).rpartition(b"\0")
        counted.add((lines + end).count(b"\0"))
        if NAME in lines:
            files.update(_attributes(lines.split(b"\0")))
    return files


def _attributes(lines: Iterable[bytes]) -> Iterable[tuple[bytes, str]]:
    for line in lines:
        facts, _, path = line.partition(b"\t")
        if path == NAME or path.endswith(b"/" + NAME):
            _, kind, object_id = facts.split(b" ")
            if kind == b"blob":
                yield path, object_id.decode()
