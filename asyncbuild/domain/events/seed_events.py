"""Events of seeds: mirrors as packs in the bucket, taken by first fetches."""

from asyncbuild.domain.events.event import Event, event


@event("seed.not-written", "warning")
class SeedNotWritten(Event):
    """Writing a seed failed; it is tried again after a later fetch."""

    mirror: str
    reason: str


@event("seed.refused", "warning")
class SeedRefused(Event):
    """A seed cannot be used, for this reason: the mirror is cloned."""

    mirror: str
    reason: str


@event("seed.taken", "info")
class SeedTaken(Event):
    """A new mirror begins from a seed, of `size_bytes` in all."""

    mirror: str
    packs: int
    size_bytes: int
    written_at: str
    duration_seconds: float


@event("seed.written", "info")
class SeedWritten(Event):
    """A mirror was written as a seed; of its `size_bytes` the bucket lacked `sent_bytes`."""

    mirror: str
    packs: int
    size_bytes: int
    sent_bytes: int
    duration_seconds: float
