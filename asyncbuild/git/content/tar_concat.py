"""Concatenation of tar streams: each tree below a directory that the first already has."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, aclosing

from asyncbuild.git.formats.error_classes import GitFailed
from asyncbuild.zip.format.tar_headers import BLOCK_BYTES, DIRECTORY
from asyncbuild.zip.format.tar_units import find_unit


async def iter_joined(
    first: AbstractAsyncContextManager[AsyncIterator[bytes]],
    below: Iterable[AbstractAsyncContextManager[AsyncIterator[bytes]]],
) -> AsyncGenerator[bytes, None]:
    """Yield one tar after the other, each opened when its turn has come.

    Args:
        first: Tar of a tree that has a directory for each of the others.
        below: Tars of those, as `git archive --prefix` writes them.

    Raises:
        StageError: One of them failed; nothing of what was read may be used then.
    """
    async with first as tar:
        async for chunk in tar:
            yield chunk
    for opened in below:
        async with opened as tar, aclosing(without_root(tar)) as chunks:
            async for chunk in chunks:
                yield chunk


async def without_root(tar: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the output of `git archive --prefix` without its first entry, the prefix's directory.

    Zeros at the end replace it, as a tar's length is a multiple of 10 KiB.

    Raises:
        GitFailed: The entry is missing.
    """
    head = b""
    root_bytes = 0
    async for chunk in tar:
        if root_bytes:
            yield chunk
            continue
        head += chunk
        root_bytes = find_root_end(head)
        if root_bytes:
            yield head[root_bytes:]
    if not root_bytes:
        raise GitFailed("git archive wrote no directory for its prefix")
    yield bytes(root_bytes)


def find_root_end(tar: bytes) -> int:
    """Return where the first directory's header ends, with all before it; 0: more is needed."""
    position = 0
    while (unit := find_unit(tar, position, held_bytes=len(tar))) is not None:
        if unit.kind == DIRECTORY:
            return unit.header + BLOCK_BYTES
        position = unit.end
    return 0
