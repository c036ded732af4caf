"""Order for an archive, and the archive that was made."""

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
        guard: Called right before the archive is made to appear (I4).
        origin: Ref whose archives it may be made of, and be kept for; None for neither.
        base_key: Key of the archive that it is made of, whatever the records say; empty to choose.
        metadata: ASCII; kept beside the archive.
        watch: Entered with the zip while it is made.
    """

    snapshot: Snapshot
    key: str
    guard: Guard
    origin: ArchiveLineage | None = None
    base_key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    watch: Watch = _unwatched


@dataclass(frozen=True, slots=True)
class DeltaArchive:
    """An archive that was made, and what is known of it for the next one; `files_read` from git.

    Of what was sent for a delta, `resent_bytes` are members of the older archive in stretches too
    short to copy, and `headers_bytes` the directory without its copied beginning.
    """

    archive: StoredArchive
    base: Base
    entries: int
    files_read: int
    resent_bytes: int = 0
    headers_bytes: int = 0
