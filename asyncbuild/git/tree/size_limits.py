"""Refuses a tree that is more than `git archive` may be asked for, before that is started."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asyncbuild.domain.errors import Reject
from asyncbuild.git.formats.extent import Counted, TreeExtent, check_attributes, too_long
from asyncbuild.git.process.command import ProcessKind
from asyncbuild.git.reader import Reader


@dataclass(frozen=True, slots=True)
class TreeWeight:
    """What a tree holds.

    Attributes:
        entries: How many files and directories.
        large: Sizes in bytes of its large blobs, by object id, if they were asked for.
        attributes: Contents of its `.gitattributes`, each once.
    """

    entries: int
    large: dict[bytes, int]
    attributes: Sequence[bytes]


async def weigh(
    reader: Reader, repository: Path, tree: str, name: str, *, large_bytes: int | None = None
) -> TreeWeight:
    """Compare a whole tree with the settings.

    Args:
        reader: Reads the repository.
        repository: Where the tree is.
        tree: Its id.
        name: What it is, for people.
        large_bytes: Tell the blobs that are longer; git then has to look at the size of each.

    Raises:
        Reject: it has too many entries, or too much in its `.gitattributes`.
        GitFailed: it cannot be read.
    """
    most = reader.most
    listing = TreeExtent(most, large_bytes)
    sizes = () if large_bytes is None else ("-l",)
    with _about(name):
        async with reader.open_stream(
            repository,
            ("ls-tree", "-r", "-t", "-z", *sizes, "--full-tree", tree),
            commit=tree,
            doing=f"count the entries of {name}",
            work=ProcessKind.TREE,
        ) as stdout:
            async for chunk in stdout:
                listing.add(chunk)
        files = listing.attributes
        blobs = list(dict.fromkeys(files.values()))
        contents = await reader.read_blobs(
            repository,
            blobs,
            most_bytes=most.attribute_bytes_most,
            doing=f"read the attributes of {name}",
        )
        if contents is None:
            raise too_long(most)
        check_attributes(files, dict(zip(blobs, contents, strict=True)), most)
    return TreeWeight(listing.entries, listing.large, contents)


async def count_lines(
    batches: AsyncIterator[list[bytes]], reader: Reader, name: str
) -> AsyncGenerator[list[bytes], None]:
    """Pass on batches of entries of a tree, as long as they are not too many.

    Raises:
        Reject: they are.
    """
    counted = Counted(reader.most)
    async for batch in batches:
        with _about(name):
            counted.add(len(batch))
        yield batch


@contextmanager
def _about(name: str) -> Iterator[None]:
    try:
        yield
    except Reject as error:
        error.reason = f"{name}: {error.reason}"
        raise
