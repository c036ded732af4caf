"""Values of making an archive: the order for one, and the archive that was made."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from asyncbuild.archive.delta.lineage import ArchiveLineage
from asyncbuild.archive.delta.planning.base import Base
from asyncbuild.domain.model import Guard, StoredArchive
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.zip.stream import ZipOutput

Watch = Callable[[ZipOutput], AbstractContextManager[None]]
"""Entered with the zip while it is made."""


@contextmanager
def _unwatched(_: ZipOutput) -> Iterator[None]:
    yield


@dataclass(frozen=True, slots=True)
class Order:
    """Order for one archive.

    Attributes:
        snapshot: The commit.
        key: Key of the archive in `storage.bucket`.
        guard: Called right before the archive appears (I4).
        origin: Ref whose archives may be its base, and that may use it as base; None for neither.
        base_key: Key of the base, in place of the recorded one; empty to choose.
        metadata: ASCII; stored with the archive.
        watch: Entered with the zip while it is made.
        reuse: Keep an archive that is there with the same fingerprint, as `Upload.commit`.
    """

    snapshot: Snapshot
    key: str
    guard: Guard
    origin: ArchiveLineage | None = None
    base_key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    watch: Watch = _unwatched
    reuse: bool = False


@dataclass(frozen=True, slots=True)
class DeltaArchive:
    """An archive that was made, and its facts as a base; `files_read` were read from git.

    Of the bytes sent for a delta, `resent_bytes` are members of the base in stretches too short to
    copy, and `headers_bytes` the directory without its copied beginning.
    """

    archive: StoredArchive
    base: Base
    entries: int
    files_read: int
    resent_bytes: int = 0
    headers_bytes: int = 0
