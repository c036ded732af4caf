"""Extent of the work that a tree is for `git archive`: its entries and its `.gitattributes`. Pure.

git holds all of them in memory before its first byte, so they are counted before it is started.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

from asyncbuild.domain.errors import Reject
from asyncbuild.git.formats.gitattributes import NAME, converts
from asyncbuild.git.formats.tree_lines import split_line

_PATTERN: Final = re.compile(rb"^[ \t\r]*[^# \t\r\n]", re.MULTILINE)  # gitattributes(5)
_REMEDY: Final = "archive less of it, or raise the setting"


class ExtentLimits(Protocol):
    """Settings that limit an archive's tree."""

    @property
    def entries_most(self) -> int:
        """Most files and directories."""

    @property
    def attribute_bytes_most(self) -> int:
        """Greatest length of all `.gitattributes` in bytes."""

    @property
    def attribute_patterns_most(self) -> int:
        """Most lines in them that are not comments."""


class AttributeCounts(NamedTuple):
    """Counts of some `.gitattributes`."""

    nbytes: int
    patterns: int


def sum_up(contents: Iterable[bytes]) -> AttributeCounts:
    """Return length and number of patterns of all of these `.gitattributes`."""
    lengths = [(len(each), sum(1 for _ in _PATTERN.finditer(each))) for each in contents]
    return AttributeCounts(sum(each for each, _ in lengths), sum(each for _, each in lengths))


class AttributeFacts(NamedTuple):
    """Facts about one `.gitattributes`.

    Attributes:
        counts: Its length and its patterns.
        converts: Whether it may convert a file on the way out.
        substitutes: Whether `export-subst` occurs in it.
    """

    counts: AttributeCounts
    converts: bool
    substitutes: bool


def facts_of(content: bytes) -> AttributeFacts:
    """Return the facts about a `.gitattributes` of this content."""
    return AttributeFacts(sum_up([content]), converts([content]), b"export-subst" in content)


def check_attributes(
    files: Mapping[bytes, str], by_id: Mapping[str, AttributeFacts], most: ExtentLimits
) -> None:
    """Raise if attributes exceed the settings.

    Args:
        files: Object ids of all `.gitattributes`, by path; git reads one for each path.
        by_id: Facts about them, by object id.
        most: The settings.

    Raises:
        Reject: They exceed a setting; names the setting and its value.
    """
    counts = [by_id[each].counts for each in files.values()]
    nbytes, patterns = sum(each.nbytes for each in counts), sum(each.patterns for each in counts)
    if nbytes > most.attribute_bytes_most:
        raise too_long(most)
    if patterns > most.attribute_patterns_most:
        raise Reject(
            f"its .gitattributes have {patterns} patterns, and git.attribute_patterns_most is "
            f"{most.attribute_patterns_most}",
            remedy=_REMEDY,
        )


def too_long(most: ExtentLimits) -> Reject:
    """Return the error for `.gitattributes` that are too long."""
    return Reject(
        "its .gitattributes are longer than git.attribute_bytes_most = "
        f"{most.attribute_bytes_most} bytes",
        remedy=_REMEDY,
    )


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the name of a tree before the reason of a refusal."""
    try:
        yield
    except Reject as error:
        error.reason = f"{name}: {error.reason}"
        raise


class Counted:
    """Counts entries as they are listed.

    Raises:
        Reject: From `add`: there are more than `entries_most`.
    """

    def __init__(self, most: ExtentLimits) -> None:
        self._most = most.entries_most
        self.entries = 0

    def add(self, entries: int) -> None:
        """Count `entries` more."""
        self.entries += entries
        if self.entries > self._most:
            raise Reject(
                f"its tree has more than {self._most} entries, the most by git.entries_most",
                remedy=_REMEDY,
            )


class TreeExtent:
    """Counts of a tree that `git ls-tree -r -t -z` lists, fed in pieces.

    Attributes:
        attributes: Object ids of all `.gitattributes`, by path.
        large: Sizes in bytes of the blobs longer than `least_bytes`, by object id.

    Args:
        most: The settings.
        least_bytes: With `ls-tree -l`; None without, because then no sizes are listed.
    """

    def __init__(self, most: ExtentLimits, least_bytes: int | None = None) -> None:
        self.attributes: dict[bytes, str] = {}
        self.large: dict[bytes, int] = {}
        self._counted = Counted(most)
        self._least_bytes = least_bytes
        self._rest = b""

    @property
    def entries(self) -> int:
        """Files and directories so far."""
        return self._counted.entries

    def add(self, piece: bytes) -> None:
        """Count the next piece.

        Raises:
            Reject: The tree has too many entries.
        """
        lines, end, self._rest = (self._rest + piece).rpartition(b"\0")
        self._counted.add((lines + end).count(b"\0"))
        if lines and (self._least_bytes is not None or NAME in lines):
            for line in lines.split(b"\0"):
                self._look(line)

    def take(self, entries: int, attributes: Mapping[bytes, str]) -> None:
        """Take the counts of a whole tree, instead of a listing of it.

        Raises:
            Reject: The tree has too many entries.
        """
        self._counted.add(entries)
        self.attributes.update(attributes)

    def _look(self, line: bytes) -> None:
        _, kind, object_id, size, path = split_line(line)
        if kind != b"blob":
            return
        if self._least_bytes is not None and int(size) > self._least_bytes:
            self.large[object_id] = int(size)
        if path == NAME or path.endswith(b"/" + NAME):
            self.attributes[path] = object_id.decode()
