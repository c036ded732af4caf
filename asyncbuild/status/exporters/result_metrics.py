"""Prometheus metrics of build results: ends by status, durations, delays."""

from typing import Final

from asyncbuild.domain.events.cancel_events import BuildCancelled, CancelFailed, CancelOff
from asyncbuild.domain.events.event import Event
from asyncbuild.domain.events.result_events import (
    ResultDeadLettered,
    ResultDelayed,
    ResultNotOurs,
    ResultRecorded,
)
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.status.exporters.prometheus_series import SeriesMaker

_STATUSES: Final = tuple(status for status in BuildStatus if status.is_end)
_PHASES: Final = ("queued", "provisioning", "building")
# A build may wait for eight hours and run for 36 (CodeBuild User Guide, quotas).
_BUILD_BUCKETS: Final = (
    *(1, 5, 15, 30, 60, 120, 300, 600, 1_200, 1_800),
    *(3_600, 7_200, 14_400, 28_800, 64_800, 129_600),
)
# From an event that came at once to one that the next round stood in for.
_RECORD_BUCKETS: Final = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3_600)


class ResultMetrics:
    """Subscriber to events of results."""

    def __init__(self, make: SeriesMaker) -> None:
        self._results = make.counter(
            "results",
            "Ends of started builds and executions that this task recorded, by status and by what "
            "told it: an event, or a round over all unfinished ones.",
            status=_STATUSES,
            by=("event", "round"),
        )
        self._phases = make.histogram(
            "build_phase_seconds",
            "Seconds of an ended build by phase: queued, provisioning its environment, building.",
            _BUILD_BUCKETS,
            phase=_PHASES,
        )
        self._to_result = make.histogram(
            "push_to_result_seconds",
            "Seconds from the push (time of its event, whole seconds) to the end of its build.",
            _BUILD_BUCKETS,
        )
        self._to_record = make.histogram(
            "end_to_record_seconds",
            "Seconds from the end of a build to its record in the ledger.",
            _RECORD_BUCKETS,
        )
        self._messages = make.counter(
            "result_messages_unrecorded",
            "Messages about builds that led to no record: of a build that others started, delayed "
            "and tried again, or dead-lettered.",
            end=("not-ours", "delayed", "dead-lettered"),
        )

        self._cancels = make.counter(
            "builds_cancelled",
            "Superseded builds and executions that were told to stop; tries that failed; and "
            "projects that may not be stopped, for an hour each.",
            end=("stopped", "failed", "off"),
        )

    def hear(self, event: Event) -> None:
        """Count one event."""
        match event:
            case ResultRecorded(status=status) if status.is_end:
                self._count_end(event)
            case ResultNotOurs():
                self._messages.labels("not-ours").inc()
            case ResultDelayed():
                self._messages.labels("delayed").inc()
            case ResultDeadLettered():
                self._messages.labels("dead-lettered").inc()
            case BuildCancelled():
                self._cancels.labels("stopped").inc()
            case CancelFailed():
                self._cancels.labels("failed").inc()
            case CancelOff():
                self._cancels.labels("off").inc()
            case _:
                pass

    def _count_end(self, event: ResultRecorded) -> None:
        self._results.labels(event.status, "round" if event.by_sweep else "event").inc()
        for phase, seconds in phases_of(event).items():
            self._phases.labels(phase).observe(seconds)
        if event.since_push_seconds is not None:
            self._to_result.observe(event.since_push_seconds)
        if event.since_end_seconds is not None:
            self._to_record.observe(event.since_end_seconds)


def phases_of(event: ResultRecorded) -> dict[str, float]:
    """Return the known durations of a build's phases, in seconds."""
    told = (event.queued_seconds, event.provisioning_seconds, event.building_seconds)
    return {name: each for name, each in zip(_PHASES, told, strict=True) if each is not None}
