"""Counts of the last hours, in four windows of sixty buckets each. Bounded memory."""

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.status.schema import Series, SeriesPoint

WINDOWS: Final = (300, 1_800, 10_800, 43_200)  # 5 minutes, 30 minutes, 3 hours, 12 hours
_BUCKETS: Final = 60
_SAMPLES_MOST: Final = 256  # of a bucket, for its median


@dataclass(slots=True)
class _Bucket:
    number: int
    built: int = 0
    settled: int = 0
    failed: int = 0
    sent_bytes: int = 0
    builds_passed: int = 0
    builds_failed: int = 0
    slowest_seconds: float = 0.0
    samples: list[float] = field(default_factory=list)


class _Window:
    """The last sixty buckets in which something happened."""

    def __init__(self, window_seconds: int) -> None:
        self.seconds = window_seconds
        self.bucket_seconds = window_seconds // _BUCKETS
        self._buckets: deque[_Bucket] = deque(maxlen=_BUCKETS)

    def at(self, now: float) -> _Bucket:
        number = int(now // self.bucket_seconds)
        # A clock that was set back keeps counting into the newest bucket.
        if not self._buckets or number > self._buckets[-1].number:
            self._buckets.append(_Bucket(number))
        return self._buckets[-1]

    def series(self, now: float) -> Series:
        known = {each.number: each for each in self._buckets}
        last = int(now // self.bucket_seconds)
        numbers = range(last - _BUCKETS + 1, last + 1)
        buckets = (self._shown(known.get(number) or _Bucket(number)) for number in numbers)
        return Series(self.seconds, self.bucket_seconds, tuple(buckets))

    def _shown(self, bucket: _Bucket) -> SeriesPoint:
        samples = bucket.samples
        return SeriesPoint(
            begin=bucket.number * self.bucket_seconds,
            built=bucket.built,
            settled=bucket.settled,
            failed=bucket.failed,
            sent_bytes=bucket.sent_bytes,
            median_seconds=round(median(samples), 3) if samples else None,
            slowest_seconds=bucket.slowest_seconds if samples else None,
            builds_passed=bucket.builds_passed,
            builds_failed=bucket.builds_failed,
        )


class Recorder:
    """Recorder that counts into every window at once."""

    def __init__(self) -> None:
        self._windows = [_Window(seconds) for seconds in WINDOWS]

    def count_settled(self, now: float, *, built: bool, since_push_seconds: float | None) -> None:
        """Count a push that was settled.

        Args:
            now: The time.
            built: Whether it started a build or a pipeline.
            since_push_seconds: Seconds from the push to its outcome; None if unknown.
        """
        for window in self._windows:
            bucket = window.at(now)
            bucket.settled += 1
            bucket.built += built
            if built and since_push_seconds is not None:
                bucket.slowest_seconds = max(bucket.slowest_seconds, since_push_seconds)
                if len(bucket.samples) < _SAMPLES_MOST:
                    bucket.samples.append(since_push_seconds)

    def count_end(self, now: float, status: BuildStatus) -> None:
        """Count the end of a build that passed or failed; a stopped one is neither."""
        for window in self._windows:
            bucket = window.at(now)
            bucket.builds_passed += status.is_passed
            bucket.builds_failed += status.is_failed

    def count_failed(self, now: float) -> None:
        """Count a failed try."""
        for window in self._windows:
            window.at(now).failed += 1

    def count_sent(self, now: float, nbytes: int) -> None:
        """Count the bytes of an archive that was sent."""
        for window in self._windows:
            window.at(now).sent_bytes += nbytes

    def series(self, now: float, *, uptime_seconds: float, window_seconds: int = 0) -> Series:
        """Return the requested window, or the shortest that covers the time since the start.

        Args:
            now: The time.
            uptime_seconds: Seconds since the start.
            window_seconds: One of `WINDOWS`, or 0 to choose one.
        """
        for window in self._windows:
            if window.seconds == window_seconds:
                return window.series(now)
        for window in self._windows:
            if window.seconds >= uptime_seconds:
                return window.series(now)
        return self._windows[-1].series(now)
