"""Refuses a tree that is more than `git archive` may be asked for, before that is started."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from asyncbuild.domain.errors import Reject
from asyncbuild.git.formats.extent import Counted, check_attributes, find_attributes, too_long
from asyncbuild.git.process.command import ProcessKind
from asyncbuild.git.reader import Reader


async def weigh(reader: Reader, repository: Path, tree: str, name: str) -> None:
    """Compare a whole tree with the settings.

    Args:
        reader: Reads the repository.
        repository: Where the tree is.
        tree: Its id.
        name: What it is, for people.

    Raises:
        Reject: it has too many entries, or too much in its `.gitattributes`.
        GitFailed: it cannot be read.
    """
    most = reader.most
    with _about(name):
        async with reader.open_stream(
            repository,
            ("ls-tree", "-r", "-t", "-z", "--full-tree", tree),
            commit=tree,
            doing=f"count the entries of {name}",
            work=ProcessKind.TREE,
        ) as stdout:
            files = await find_attributes(stdout, most)
        if not files:
            return
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
