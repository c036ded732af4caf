"""What happens to mirrors and archives beside the stages of a push."""

from asyncbuild.domain.events.event import Event, event


@event("archive.full", "info", "warning", of_push=True)
class ArchiveFull(Event):
    """No delta of an older archive, for this reason; level warning if the try failed."""

    reason: str
    detail: str


@event("archive.large", "info", of_push=True)
class ArchiveLarge(Event):
    """git needed more memory than its share: large files are measured first, now and later."""

    reason: str


@event("archive.not-remembered", "warning", of_push=True)
class ArchiveNotRemembered(Event):
    """The next archive of the ref will begin from another."""

    reason: str


@event("archive.placeholders", "warning", of_push=True)
class ArchivePlaceholders(Event):
    """A file with `export-subst` asks for what a commit does not say.

    Nothing stands there, or what is so now.
    """

    path: str
    placeholders: str


@event("fetch.finished", "info")
class FetchFinished(Event):
    """One git fetch, for so many pushes."""

    mirror: str
    pushes: int
    duration_seconds: float


@event("mirror.renewed", "warning")
class MirrorRenewed(Event):
    """A damaged mirror is fetched again."""

    mirror: str
    damage: str


@event("mirror.repack-failed", "warning")
class MirrorRepackFailed(Event):
    """It is tried after a later fetch."""

    reason: str


@event("mirrors.evicted", "info")
class MirrorsEvicted(Event):
    """Least recently used mirrors were deleted."""

    mirrors: int
    freed_bytes: int


@event("reader.mended", "warning")
class ReaderMended(Event):
    """Damaged files of the service's own were written again."""

    files: list[str]
