"""Metrics for CloudWatch as lines of the log, in its embedded metric format: no API call.

CloudWatch Logs reads them out of the log stream (CloudWatch User Guide, "Specification: Embedded
metric format"). One line a minute with the current values, and the events since the last; one
more for each kind of failure. `deploy/dashboard.yaml` draws them by these names.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import anyio
import orjson

from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.events.outcome_events import OutcomeDelayed, OutcomeGivenUp, OutcomesOff
from asyncbuild.domain.events.push_events import PushBuilt, PushHandedOver
from asyncbuild.domain.events.queue_events import WebhookUnverified
from asyncbuild.domain.events.reconcile_events import PushFound, ReconcileFailed, ReconcileRound
from asyncbuild.domain.events.report_events import ReportDeadLettered, ReportDelayed, ReportPosted
from asyncbuild.domain.events.result_events import ResultRecorded, ResultsSwept
from asyncbuild.domain.events.stage_events import StageFailed
from asyncbuild.queue.counters import ConsumerState
from asyncbuild.status.collect import WORKING, oldest_waiting_seconds
from asyncbuild.status.exporters.result_metrics import phases_of

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
    "Results": "Count",
    "SecondsFromPushToResult": "Seconds",
    "SecondsFromEndToRecord": "Seconds",
    "BuildSeconds": "Seconds",
    "UnfinishedBuilds": "Count",
    "OldestUnfinishedSeconds": "Seconds",
    "ResultsFoundByRound": "Count",
    "StatusesPosted": "Count",
    "ReportsDelayed": "Count",
    "ReportsDeadLettered": "Count",
    "OutcomeEventsDelayed": "Count",
    "OutcomeEventsGivenUp": "Count",
    "PushesFound": "Count",
    "RoundsBegun": "Count",
    "RepositoriesNotLookedAt": "Count",
}
_COUNTED: Final = {
    ReportDelayed: "ReportsDelayed",
    ReportDeadLettered: "ReportsDeadLettered",
    OutcomeDelayed: "OutcomeEventsDelayed",
    OutcomesOff: "OutcomeEventsDelayed",
    OutcomeGivenUp: "OutcomeEventsGivenUp",
    PushFound: "PushesFound",
    ReconcileRound: "RoundsBegun",
    ReconcileFailed: "RepositoriesNotLookedAt",
}


@dataclass(slots=True)
class _Results:
    """Ends of builds that were recorded in a minute, and the newest round of it."""

    statuses: Counter[str] = field(default_factory=Counter)
    phases: dict[str, list[float]] = field(default_factory=dict)
    since_push: list[float] = field(default_factory=list)
    since_end: list[float] = field(default_factory=list)
    round: ResultsSwept | None = None

    def add(self, event: ResultRecorded) -> None:
        """Count one end; durations that are unknown are left out."""
        self.statuses[event.status] += 1
        for phase, seconds in phases_of(event).items():
            self.phases.setdefault(phase, []).append(seconds)
        if event.since_push_seconds is not None:
            self.since_push.append(event.since_push_seconds)
        if event.since_end_seconds is not None:
            self.since_end.append(event.since_end_seconds)

    def gauges(self) -> dict[str, object]:
        """Return what the round has found; nothing if there was none."""
        if self.round is None:
            return {}
        return {
            "UnfinishedBuilds": self.round.unfinished,
            "OldestUnfinishedSeconds": round(self.round.oldest_seconds, 3),
            "ResultsFoundByRound": self.round.found,
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
        self._results = _Results()
        self._statuses: Counter[tuple[str, str]] = Counter()  # by state and kind of forge
        self._counted: Counter[str] = Counter()

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
            case ResultRecorded() as event if event.status.is_end:
                self._results.add(event)
            case ResultsSwept() as event:
                self._results.round = event
            case ReportPosted(state=status, forge=forge):
                self._statuses[status, forge] += 1
            case event if name := _COUNTED.get(type(event)):
                self._counted[name] += 1
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
        counted, self._counted = self._counted, Counter()
        gauges.update(counted)
        results, self._results = self._results, _Results()
        lines = [self._line(now, each) for each in (gauges, results.gauges()) if each]
        lines += self._lines(now, "SecondsFromPushToBuild", to_build)
        lines += self._lines(now, "SecondsFromPushToResult", results.since_push)
        lines += self._lines(now, "SecondsFromEndToRecord", results.since_end)
        for phase, values in results.phases.items():
            lines += self._lines(now, "BuildSeconds", values, phase=phase)
        for status, count in sorted(results.statuses.items()):
            lines.append(self._line(now, {"Results": count}, status=status))
        statuses, self._statuses = self._statuses, Counter()
        for (status, forge), count in sorted(statuses.items()):
            lines.append(self._line(now, {"StatusesPosted": count}, state=status, forge=forge))
        for kind, count in sorted(failures.items()):
            lines.append(self._line(now, {"Failures": count}, kind=kind))
        return lines

    def _lines(
        self, now: float, name: str, values: Sequence[float], **dimensions: str
    ) -> list[bytes]:
        """Return lines with all values of one metric, so that percentiles are right."""
        return [
            self._line(now, {name: values[first : first + _VALUES_MOST]}, **dimensions)
            for first in range(0, len(values), _VALUES_MOST)
        ]

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
