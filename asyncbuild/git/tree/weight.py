"""Weight of a tree before `git archive` is started: entries, attributes, and memory of git.

`git archive` streams a blob above `core.bigFileThreshold`, if it is stored whole; a blob that is
stored as a delta it holds in memory, with its delta base. Streamed blobs are not converted: so
blobs are streamed only if no attribute converts any.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asyncbuild.git.formats.extent import TreeExtent, check_attributes, naming, too_long
from asyncbuild.git.formats.process_kinds import ProcessKind
from asyncbuild.git.process.memory import STREAMED_BYTES, GitMemory
from asyncbuild.git.reader import Reader


@dataclass(frozen=True, slots=True)
class TreeWeight:
    """Counts of a tree.

    Attributes:
        entries: Number of files and directories.
        large: Sizes in bytes of its large blobs, by object id, if they were asked for.
        converts: Whether one of its `.gitattributes` may convert a file on the way out.
    """

    entries: int
    large: dict[bytes, int]
    converts: bool


async def weigh(
    reader: Reader, repository: Path, tree: str, name: str, *, large_bytes: int | None = None
) -> TreeWeight:
    """Weigh a whole tree, and reject one that exceeds the settings.

    Args:
        reader: Reads the repository.
        repository: Directory of the repository.
        tree: Id of the tree.
        name: Name of the tree, for people.
        large_bytes: Report blobs that are longer; git then has to look at the size of each.

    Raises:
        Reject: The tree has too many entries, or too much in its `.gitattributes`.
        GitFailed: The tree cannot be read.
    """
    with naming(name):
        listing = await _list(reader, repository, tree, name, large_bytes)
        files = listing.attributes
        facts = await reader.read_attributes(
            repository,
            files.values(),
            most_bytes=reader.most.attribute_bytes_most,
            doing=f"read the attributes of {name}",
        )
        if facts is None:
            raise too_long(reader.most)
        check_attributes(files, facts, reader.most)
    converts = any(each.converts for each in facts.values())
    return TreeWeight(listing.entries, listing.large, converts)


async def _list(
    reader: Reader, repository: Path, tree: str, name: str, large_bytes: int | None
) -> TreeExtent:
    """Return the extent of a tree: from what is known of its parts, or listed by git."""
    listing = TreeExtent(reader.most, large_bytes)
    if large_bytes is None:
        summary = await reader.summarise(repository, tree)
        if summary is not None:
            listing.take(summary.entries, dict(summary.attributes))
            return listing
    sizes = () if large_bytes is None else ("-l",)
    async with reader.open_stream(
        repository,
        ("ls-tree", "-r", "-t", "-z", *sizes, "--full-tree", tree),
        commit=tree,
        doing=f"count the entries of {name}",
        work=ProcessKind.TREE,
    ) as stdout:
        async for chunk in stdout:
            listing.add(chunk)
    return listing


# git resolves a delta with base, delta and result in memory; measured: 176 MiB for a file of 60 MB.
# A converted blob is there before and after, and once more in between.
_COPIES: Final = 3
_ENTRY_BYTES: Final = 400  # of git's index
_CHAIN_MOST: Final = 4_096
_ZEROS: Final = re.compile(rb"0+")


@dataclass(frozen=True, slots=True)
class Need:
    """Memory that a `git archive` takes.

    Attributes:
        memory_bytes: Upper bound of its memory.
        streamed: Whether large blobs can be streamed.
    """

    memory_bytes: int
    streamed: bool


async def measure(
    reader: Reader, repository: Path, tree: str, name: str, memory: GitMemory
) -> Need:
    """Return the memory that a tree's archive takes, by the sizes and storage of its files.

    Args:
        reader: Reads the repository.
        repository: Directory of the repository.
        tree: Id of the tree.
        name: Name of the tree, for people.
        memory: Limits of git's memory.

    Raises:
        Reject: It takes more than one git may have; names the largest file's size. Or it exceeds
            the limits of `weigh`.
        GitFailed: The tree cannot be read.
    """
    found = await weigh(reader, repository, tree, name, large_bytes=STREAMED_BYTES)
    sizes = found.large
    streamed = not found.converts
    deltas = await _find_deltas(reader, repository, sizes, name)
    held = deltas if streamed else {**sizes, **deltas}
    largest_bytes = max(held.values(), default=0)
    need_bytes = memory.share_bytes + found.entries * _ENTRY_BYTES + _COPIES * largest_bytes
    if memory.limited and need_bytes > memory.most_bytes:
        raise memory.reject(name, need_bytes, f", for a file of {largest_bytes} bytes")
    return Need(need_bytes, streamed)


async def _find_deltas(
    reader: Reader, repository: Path, sizes: Mapping[bytes, int], name: str
) -> dict[bytes, int]:
    """Return those of the blobs that are stored as deltas, with the largest size in each chain."""
    largest: dict[bytes, int] = {}
    asked = {each: each for each in sizes}  # the current link of each chain, by its first blob
    for _ in range(_CHAIN_MOST):
        ids = list(dict.fromkeys(asked.values()))
        if not ids:
            break
        answer = await reader.run(
            repository,
            ("cat-file", "--batch-check=%(objectname) %(objectsize) %(deltabase)"),
            commit=ids[0].decode(),
            doing=f"look how large files of {name} are stored",
            work=ProcessKind.TREE,
            stdin=b"".join(each + b"\n" for each in ids),
        )
        found = {words[0]: words[1:] for words in map(bytes.split, answer.splitlines())}
        following = {}
        for blob, link in asked.items():
            size, base = found[link]
            if blob in largest:
                largest[blob] = max(largest[blob], int(size))
            if not _ZEROS.fullmatch(base):
                largest.setdefault(blob, int(size))
                following[blob] = base
        asked = following
    return largest
