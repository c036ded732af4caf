"""Prometheus metrics of new mirrors, by where their bytes came from, and of seeds."""

from asyncbuild.domain.events.event import Event
from asyncbuild.domain.events.git_events import MirrorMade
from asyncbuild.domain.events.seed_events import (
    SeedNotWritten,
    SeedRefused,
    SeedTaken,
    SeedWritten,
)
from asyncbuild.status.exporters.prometheus_series import SeriesMaker

_SOURCES = ("clone", "seed")
_ENDS = {
    SeedTaken: "taken",
    SeedRefused: "refused",
    SeedWritten: "written",
    SeedNotWritten: "not-written",
}


class SeedMetrics:
    """Subscriber to events of mirrors and seeds."""

    def __init__(self, make: SeriesMaker) -> None:
        self._made = make.counter(
            "mirrors_made", "New mirrors, by source: cloned, or begun from a seed.", source=_SOURCES
        )
        self._bytes = make.counter(
            "mirror_bytes_made", "Bytes of new mirrors on the disk, by source.", source=_SOURCES
        )
        self._seeds = make.counter(
            "seeds",
            "Seeds taken or written, and those that were refused or could not be written.",
            end=tuple(_ENDS.values()),
        )
        self._sent = make.counter("seed_sent_bytes", "Bytes sent to S3 for seeds.")

    def hear(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, MirrorMade):
            self._made.labels(event.source).inc()
            self._bytes.labels(event.source).inc(event.size_bytes)
        elif end := _ENDS.get(type(event)):
            self._seeds.labels(end).inc()
            if isinstance(event, SeedWritten):
                self._sent.inc(event.sent_bytes)
