"""State of a mirror at one moment, held open while it is written to the bucket.

The fetch lock is held for the moment alone. Packs never change, and one that is deleted meanwhile
can still be read: so neither fetches nor evictions wait for an upload, and a kill leaves nothing.
"""

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from anyio import to_thread
from isal.isal_zlib import crc32

from asyncbuild.git.mirrors.directory import MirrorDirectory, read_object_format
from asyncbuild.git.mirrors.mirror_locks import open_for_change, open_for_use
from asyncbuild.git.seeds.plans.pack_pair import hash_bytes
from asyncbuild.git.seeds.plans.seed_due import PackOnDisk
from asyncbuild.git.seeds.plans.seed_manifest import SeedFault, SeedFile, is_kept_ref
from asyncbuild.storage.file_upload import OpenFile, spans_of_parts

_LOCK_SECONDS: Final = 60.0
_REFS_MOST: Final = 10_000  # a seed may lack refs: what leads nowhere is fetched again
_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HeldFile:
    """An open pack or index."""

    descriptor: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class MirrorCapture:
    """State of a mirror, with its packs open.

    Attributes:
        object_format: `sha1` or `sha256`.
        at: When it was taken.
        packs: Packs with their indexes, the largest first.
        refs: Refs and their objects.
        shallow: Commits whose parents are missing.
    """

    object_format: str
    at: datetime
    packs: tuple[tuple[HeldFile, HeldFile], ...]
    refs: dict[str, str]
    shallow: tuple[str, ...]


@asynccontextmanager
async def open_capture(place: MirrorDirectory) -> AsyncIterator[MirrorCapture | None]:
    """Hold the state of a mirror; None if there is none, or if it may be corrupt.

    Raises:
        Busy: Others changed the mirror all the time.
        OSError: It cannot be read.
    """
    doing = f"capture {place.repository}"
    with ExitStack() as stack:
        async with (
            open_for_use(place, doing),
            open_for_change(place, doing, wait_seconds=_LOCK_SECONDS),
        ):
            capture = await to_thread.run_sync(_capture, stack, place)
        yield capture


def list_packs(place: MirrorDirectory) -> list[PackOnDisk]:
    """Return the packs of a mirror that are on the disk. Blocks."""
    return [
        PackOnDisk(
            pack.stat().st_size + index.stat().st_size,
            datetime.fromtimestamp(pack.stat().st_mtime, UTC),
        )
        for pack, index in _pairs(place.repository)
    ]


def digest_file(file: HeldFile, object_format: str) -> tuple[SeedFile, OpenFile]:
    """Return the SHA-256 of a file, and what its upload needs; reads it once. Blocks.

    Raises:
        SeedFault: It does not end with the hash of its bytes, as git writes it: it is damaged.
    """
    whole, own = hashlib.sha256(), getattr(hashlib, object_format)()
    end = file.size_bytes - hash_bytes(object_format)
    checksums = []
    for span in spans_of_parts(file.size_bytes):
        checksum = 0
        for position, chunk in _chunks(file.descriptor, *span):
            whole.update(chunk)
            own.update(chunk[: max(0, end - position)])
            checksum = crc32(chunk, checksum)
        checksums.append(checksum)
    if os.pread(file.descriptor, own.digest_size, end) != own.digest():
        raise SeedFault("a pack or an index of the mirror is damaged")
    opened = OpenFile(file.descriptor, file.size_bytes, checksums)
    return SeedFile(whole.hexdigest(), file.size_bytes), opened


def _chunks(descriptor: int, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    while begin < end:
        chunk = os.pread(descriptor, min(_CHUNK_BYTES, end - begin), begin)
        if not chunk:
            raise SeedFault("a file of the mirror became shorter")
        yield begin, chunk
        begin += len(chunk)


def _capture(stack: ExitStack, place: MirrorDirectory) -> MirrorCapture | None:
    if not place.is_whole() or place.is_suspect():
        return None
    object_format = read_object_format(place.repository)
    if not object_format:
        return None
    packs = [
        (stack.enter_context(_held(pack)), stack.enter_context(_held(index)))
        for pack, index in _pairs(place.repository)
    ]
    packs.sort(key=lambda each: each[0].size_bytes, reverse=True)
    return MirrorCapture(
        object_format,
        datetime.now(UTC),
        tuple(packs),
        _read_refs(place.repository),
        _read_shallow(place.repository),
    )


@contextmanager
def _held(path: Path) -> Iterator[HeldFile]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield HeldFile(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _pairs(repository: Path) -> list[tuple[Path, Path]]:
    """Return packs with their indexes; git takes no notice of a pack without one."""
    indexes = (repository / "objects" / "pack").glob("pack-*.idx")
    pairs = [(each.with_suffix(".pack"), each) for each in indexes]
    return [pair for pair in pairs if pair[0].exists()]


def _read_refs(repository: Path) -> dict[str, str]:
    """Return the refs of a mirror, which are files (`git/process/environment.py`)."""
    refs = {}
    packed = repository / "packed-refs"
    if packed.exists():
        for line in packed.read_text("ascii", "replace").splitlines():
            tip, _, name = line.partition(" ")
            refs[name] = tip
    kept = repository / "refs" / "asyncbuild"
    for path in kept.rglob("*"):
        if path.is_file():
            refs[path.relative_to(repository).as_posix()] = path.read_text("ascii").strip()
    found = [(name, tip) for name, tip in refs.items() if is_kept_ref(name)]
    return dict(found[-_REFS_MOST:])  # newer ones come last: git packs refs when there are many


def _read_shallow(repository: Path) -> tuple[str, ...]:
    try:
        return tuple((repository / "shallow").read_text("ascii").split())
    except FileNotFoundError:
        return ()
