"""Events of mirrors and archives outside the stages of a push."""

from typing import Literal

from asyncbuild.domain.events.event import Event, event


@event("archive.full", "info", "warning", of_push=True)
class ArchiveFull(Event):
    """An archive was made in full, for this reason; level warning if a delta failed."""

    reason: str
    detail: str


@event("archive.large", "info", of_push=True)
class ArchiveLarge(Event):
    """git needed more memory than its share: from now on, large files are measured first."""

    reason: str


@event("archive.not-remembered", "warning", of_push=True)
class ArchiveNotRemembered(Event):
    """The base record of an archive was not written: the ref's next archive uses an older base."""

    reason: str


@event("archive.placeholders", "warning", of_push=True)
class ArchivePlaceholders(Event):
    """A file with `export-subst` has placeholders that a commit alone does not answer.

    The archive has nothing in their places, or values of the moment, which may change later.
    """

    path: str
    placeholders: str


@event("fetch.finished", "info")
class FetchFinished(Event):
    """One git fetch, which served `pushes` pushes, ended."""

    mirror: str
    pushes: int
    duration_seconds: float


@event("mirror.made", "info")
class MirrorMade(Event):
    """A new mirror: cloned from its server, or begun from a seed."""

    mirror: str
    source: Literal["clone", "seed"]
    size_bytes: int


@event("mirror.renewed", "warning")
class MirrorRenewed(Event):
    """A damaged mirror was discarded and is fetched again."""

    mirror: str
    damage: str


@event("mirror.repack-failed", "warning")
class MirrorRepackFailed(Event):
    """Packing a mirror failed; it is tried after a later fetch."""

    reason: str


@event("mirrors.evicted", "info")
class MirrorsEvicted(Event):
    """Least recently used mirrors were deleted."""

    mirrors: int
    freed_bytes: int


@event("reader.mended", "warning")
class ReaderMended(Event):
    """Damaged files that the service itself wrote to the cache were written again."""

    files: list[str]
