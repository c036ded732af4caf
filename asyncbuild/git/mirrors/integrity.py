"""Detection of damage in a mirror, by examining the mirror itself.

git's words only raise the suspicion: they may be a server's, or contain a name that a pusher chose.
A mirror is thrown away only for damage that is found here: a file with a wrong checksum, or an
answer of git about that repository alone.
"""

import hashlib
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from anyio import to_thread

from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.mirrors.directory import MirrorDirectory, read_object_format
from asyncbuild.git.process.command import Command, Git, ProcessKind

_CHUNK_BYTES: Final = 1024 * 1024
_OF_THE_MACHINE: Final = frozenset({GitFault.MEMORY, GitFault.DISK_FULL})
# git ends each of these files with the hash of all bytes before (gitformat-pack(5),
# -commit-graph(5)).
_SUMMED: Final = (
    *("objects/pack/*.*", "objects/pack/multi-pack-index"),
    *("objects/info/commit-graph", "objects/info/commit-graphs/*.graph"),
)
_UNSUMMED: Final = frozenset({".keep", ".promisor", ".mtimes", ".lock"})
# Not the contents of commits, which may be odd as their authors made them, but their completeness.
_FSCK: Final = ("fsck", "--connectivity-only", "--no-dangling", "--no-reflogs", "--no-progress")


async def find_damage(git: Git, place: MirrorDirectory, ids: Collection[str], lock: int) -> str:
    """Return a description of a mirror's damage for people; empty if there is none.

    Reads every byte of it: call for a mirror that is suspected, with its fetch lock held.

    Args:
        git: Runs git.
        place: The mirror.
        ids: Objects in it that were being read; no ref may lead to them any more.
        lock: Descriptor of the fetch lock.

    Raises:
        GitFailed: Memory or disk do not suffice to tell.
        Busy: The machine is at a limit.
    """
    damage = await to_thread.run_sync(_find_in_files, place.repository)
    if damage:
        return damage

    async def ask(*arguments: str, stdin: str = "") -> bytes:
        command = Command(
            arguments,
            f"look for damage in {place.repository}",
            git_directory=place.repository,
            stdin=stdin.encode(),
            descriptors=(lock,),
            work=ProcessKind.UPKEEP,
        )
        return await git.run(command)

    async def find_missing(ids: Iterable[str]) -> set[str]:
        answer = await ask("cat-file", "--batch-check", stdin="".join(f"{each}\n" for each in ids))
        lines = (line.decode("utf-8", "replace") for line in answer.splitlines())
        return {line.split()[0] for line in lines if line.endswith(" missing")}

    try:
        await ask(*_FSCK)
        if stale := await find_missing(await to_thread.run_sync(_read_shallow, place.repository)):
            return f"shallow names {min(stale)}, which is not here"
        for each in {*ids} - await find_missing(ids):
            await ask("rev-list", "--no-walk", "--objects", "--quiet", "--end-of-options", each)
    except GitFailed as error:
        if error.fault in _OF_THE_MACHINE:
            raise
        return error.reason
    return ""


def _find_in_files(repository: Path) -> str:
    try:
        return next(_iter_damage(repository), "")
    except OSError as error:
        return f"{error.filename or repository}: {error.strerror}"


def _iter_damage(repository: Path) -> Iterator[str]:
    object_format = read_object_format(repository)
    if not object_format:
        yield f"{repository / 'config'}: its packs are of another object format"
        return
    new = getattr(hashlib, object_format)
    for path in sorted({each for pattern in _SUMMED for each in repository.glob(pattern)}):
        if path.suffix not in _UNSUMMED and not _sum_is_right(path, new):
            yield f"{path}: its checksum is another"
    for index in (repository / "objects" / "pack").glob("*.idx"):
        pack, size = index.with_suffix(".pack"), new().digest_size
        if not pack.exists() or _tail(pack, size) != _tail(index, 2 * size)[:size]:
            yield f"{index}: its pack is another, or gone"
    for path in repository.glob("objects/[0-9a-f][0-9a-f]/*"):
        if not path.name.startswith("tmp_") and not _loose_is_right(path, new):
            yield f"{path}: its content is another"


def _sum_is_right(path: Path, new: Callable[[], Any]) -> bool:
    digest = new()
    left = path.stat().st_size - digest.digest_size
    if left < 0:
        return False
    with path.open("rb") as file:
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                return False
            left -= len(chunk)
            digest.update(chunk)
        return bool(file.read() == digest.digest())


def _tail(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read()


def _loose_is_right(path: Path, new: Callable[[], Any]) -> bool:
    """Return whether a loose object's content hashes to its name."""
    digest, stream = new(), zlib.decompressobj()
    with path.open("rb") as file:
        try:
            while chunk := stream.unconsumed_tail or file.read(_CHUNK_BYTES):
                digest.update(stream.decompress(chunk, _CHUNK_BYTES))
        except zlib.error:
            return False
    return stream.eof and bool(digest.hexdigest() == path.parent.name + path.name)


def _read_shallow(repository: Path) -> list[str]:
    try:
        return (repository / "shallow").read_text().split()
    except FileNotFoundError:
        return []
