"""Metrics for CloudWatch as lines of the log, in its embedded metric format: no API call.

CloudWatch Logs reads them out of the log stream (CloudWatch User Guide, "Specification: Embedded
metric format"). One line a minute with the current values, and the events since the last; one
more for each kind of failure. `deploy/cloudformation.yaml` draws them by these names.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import anyio
import orjson

from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.events.push_events import PushBuilt, PushHandedOver
from asyncbuild.domain.events.queue_events import WebhookUnverified
from asyncbuild.domain.events.stage_events import StageFailed
from asyncbuild.queue.counters import ConsumerState
from asyncbuild.status.collect import WORKING, oldest_waiting_seconds

NAMESPACE: Final = "asyncbuild"
EVERY_SECONDS: Final = 60.0
_VALUES_MOST: Final = 100  # values of one metric in one line, by the specification
_UNITS: Final = {
    "GroupsWaiting": "Count",
    "GroupsInWork": "Count",
    "ConsumersFree": "Count",
    "OldestWaitingSeconds": "Seconds",
    "SecondsFromPushToBuild": "Seconds",
    "Failures": "Count",
    "UnverifiedWebhooks": "Count",
}


class EmbeddedMetrics:
    """Subscriber to events (`emit.subscribed`); `take` returns the lines of the last minute.

    Args:
        queue_name: Name of the queue, a dimension of each metric.
        state: Returns what is in flight.
        clock: Clock in epoch seconds.
    """

    def __init__(
        self,
        queue_name: str,
        state: Callable[[], ConsumerState],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue_name = queue_name
        self._state = state
        self._clock = clock
        self._to_build: list[float] = []
        self._failures: Counter[str] = Counter()
        self._unverified = 0

    def hear(self, told: Emitted) -> None:
        """Count one event."""
        match told.event:
            case PushBuilt(since_push_seconds=seconds) | PushHandedOver(since_push_seconds=seconds):
                self._to_build.append(seconds)
            case WebhookUnverified():
                self._unverified += 1
            # A failure at level debug is inside another stage, which fails with it.
            case StageFailed(kind=kind) if told.level != "debug":
                self._failures[kind] += 1
            case _:
                pass

    def take(self) -> list[bytes]:
        """Return the lines to write now; each event is counted in one of them only."""
        state, now = self._state(), self._clock()
        working = sum(any(h.state in WORKING for h in held) for held in state.lanes.values())
        gauges: dict[str, object] = {
            "GroupsWaiting": len(state.lanes) - working,
            "GroupsInWork": working,
            "ConsumersFree": state.consumers_free,
            "OldestWaitingSeconds": round(oldest_waiting_seconds(state, now), 3),
        }
        to_build, self._to_build = self._to_build, []
        failures, self._failures = self._failures, Counter()
        if self._unverified:
            gauges["UnverifiedWebhooks"], self._unverified = self._unverified, 0
        lines = [self._line(now, gauges)]
        for first in range(0, len(to_build), _VALUES_MOST):
            values = to_build[first : first + _VALUES_MOST]
            lines.append(self._line(now, {"SecondsFromPushToBuild": values}))
        for kind, count in sorted(failures.items()):
            lines.append(self._line(now, {"Failures": count}, kind=kind))
        return lines

    def _line(self, now: float, values: Mapping[str, object], **dimensions: str) -> bytes:
        dimensions = {"queue": self._queue_name, **dimensions}
        metrics = [{"Name": name, "Unit": _UNITS[name]} for name in values]
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [list(dimensions)],
            "Metrics": metrics,
        }
        about = {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}
        return orjson.dumps({"_aws": about, **dimensions, **values}) + b"\n"


async def keep_writing(metrics: EmbeddedMetrics) -> None:
    """Write every minute, and once more when cancelled."""
    try:
        while True:
            await anyio.sleep(EVERY_SECONDS)
            _write(metrics.take())
    finally:
        _write(metrics.take())


def _write(lines: list[bytes]) -> None:
    # To the log; each line is written whole. A log that is gone must not hold up the service.
    with suppress(OSError, ValueError):
        sys.stderr.buffer.write(b"".join(lines))
        sys.stderr.buffer.flush()
