"""Prometheus metrics: counters and histograms from events, gauges from the state in memory.

A registry of its own, so that no metrics of other libraries are shown. Every series exists from the
start, with the value 0: a rate over a counter that appears with its first count misses that count.
`docs/observability.md` describes every metric; a test compares.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder

from asyncbuild import __version__
from asyncbuild.archive.delta.fallback import REASONS
from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Emitted, Event
from asyncbuild.domain.events.git_events import ArchiveFull, FetchFinished
from asyncbuild.domain.events.push_events import (
    PushBuilt,
    PushDeadLettered,
    PushHandedOver,
    PushNothingToDo,
    PushOutcome,
    PushSuperseded,
)
from asyncbuild.domain.events.queue_events import (
    LaneReleased,
    LeaseLostToAnother,
    LeaseRenewalFailed,
    LeaseRenewed,
    QueuePolled,
    QueueReceiveFailed,
    WebhookUnverified,
)
from asyncbuild.domain.events.stage_events import (
    STAGES,
    PushUploadFinished,
    StageEnded,
    StageFailed,
    StageFinished,
)
from asyncbuild.domain.model import Verdict
from asyncbuild.status.collect import Survey
from asyncbuild.status.exporters.gauges import InFlightGauges
from asyncbuild.status.exporters.outcome_metrics import OutcomeMetrics
from asyncbuild.status.exporters.prometheus_series import SeriesMaker
from asyncbuild.status.exporters.reconcile_metrics import ReconcileMetrics
from asyncbuild.status.exporters.report_metrics import ReportMetrics
from asyncbuild.status.exporters.result_metrics import ResultMetrics
from asyncbuild.status.exporters.seed_metrics import SeedMetrics

# From a small archive to a monorepository: 25 ms to 10 minutes.
_STAGE_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600)
_TO_BUILD_BUCKETS: Final = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3600)
_STAGE_NAMES: Final = tuple(name.removeprefix("push.") for name in STAGES)
_ENDS: Final = ("finished", "failed", "cancelled")
_VERDICTS: Final = (*Verdict, "nothing-to-do")


class Metrics:
    """Subscriber to events (`emit.subscribed`) that counts; `expose` answers a scrape."""

    def __init__(self, survey: Survey) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._registry.register(InFlightGauges(survey))
        ProcessCollector(registry=self._registry)
        Info(
            "asyncbuild", "Running version, as a label of the constant 1.", registry=self._registry
        ).info({"version": __version__})
        self._make = SeriesMaker(self._registry)
        self._make_of_pushes()
        self._make_of_archives()
        self._make_of_queue()
        self._results = ResultMetrics(self._make)
        self._reports = ReportMetrics(self._make)
        self._reconcile = ReconcileMetrics(self._make)
        self._outcomes = OutcomeMetrics(self._make)
        self._seeds = SeedMetrics(self._make)

    def hear(self, told: Emitted) -> None:
        """Count one event."""
        if told.level in {"warning", "error"}:
            self._lines.labels(told.level).inc()
        match told.event:
            case StageEnded() as event:
                self._count_stage(event)
            case FetchFinished(duration_seconds=seconds):
                self._fetches.observe(seconds)
            case ArchiveFull(reason=reason):
                self._fallbacks.labels(reason).inc()
            case WebhookUnverified(kept=kept):
                self._unverified.labels("dead-lettered" if kept else "deleted").inc()
            case PushOutcome() | PushSuperseded() | PushNothingToDo() | PushDeadLettered() as event:
                self._count_push(event)
            case event:
                self._count_queue(event)
                self._results.hear(event)
                self._reports.hear(event)
                self._reconcile.hear(event)
                self._outcomes.hear(event)
                self._seeds.hear(event)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Return the exposition for an `Accept` header: body and content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _make_of_pushes(self) -> None:
        self._pushes = self._make.counter(
            "pushes",
            "Pushes settled, one for each target, by verdict.",
            verdict=_VERDICTS,
        )
        self._to_build = self._make.histogram(
            "push_to_build_seconds",
            "Seconds from the push (time of its event, whole seconds) to the started build or "
            "pipeline.",
            _TO_BUILD_BUCKETS,
        )
        self._stages = self._make.histogram(
            "stage_seconds",
            "Seconds that a stage of a push took, by how it ended.",
            _STAGE_BUCKETS,
            stage=_STAGE_NAMES,
            end=_ENDS,
        )
        self._failures = self._make.counter(
            "stage_failures",
            "Failed tries of a stage, by kind of error. The stage around it fails with it: sum "
            "over prepare and start alone.",
            stage=_STAGE_NAMES,
            kind=tuple(Kind),
        )

        self._unverified = self._make.counter(
            "unverified_webhooks",
            "Requests without a good signature: dead-lettered, or deleted beyond 20 of a host and "
            "hour.",
            end=("dead-lettered", "deleted"),
        )

    def _make_of_archives(self) -> None:
        self._archives = self._make.counter(
            "archives",
            "Archives finished, by the way they were made.",
            kind=("full", "delta", "copy"),
        )
        self._fallbacks = self._make.counter(
            "archive_fallbacks",
            "Archives made in full because no older one could be used, by reason (field reason of "
            "the log's archive.full).",
            reason=REASONS,
        )
        self._entries = self._make.counter(
            "archive_entries", "Files and links in finished archives."
        )
        self._files_read = self._make.counter(
            "archive_files_read", "Files of finished archives whose content was read from git."
        )
        self._bytes = self._make.counter("archive_bytes", "Bytes of finished archives.")
        self._sent = self._make.counter("sent_bytes", "Bytes of archives that were sent to S3.")
        self._copied = self._make.counter(
            "copied_bytes", "Bytes of archives that were copied inside S3 and not sent."
        )

    def _make_of_queue(self) -> None:
        self._polls = self._make.counter(
            "polls", "Receive calls to SQS, by result.", result=("messages", "empty", "failed")
        )
        self._received = self._make.counter(
            "messages_received", "Messages received from the queue."
        )
        self._released = self._make.counter(
            "messages_released", "Messages released to the queue unsettled."
        )
        self._leases = self._make.counter(
            "leases",
            "Leases of messages renewed, not renewed, or lost to another task.",
            event=("renewed", "renewal-failed", "lost"),
        )
        self._fetches = self._make.histogram(
            "git_fetch_seconds",
            "Seconds that one git fetch took; it may serve several pushes.",
            _STAGE_BUCKETS,
        )
        self._lines = self._make.counter(
            "log_lines", "Warnings and errors logged, by level.", level=("warning", "error")
        )

    def _count_stage(self, event: StageEnded) -> None:
        name = event.stage_name.removeprefix("push.")
        self._stages.labels(name, _end_of(event)).observe(event.duration_seconds)
        match event:
            case StageFailed(kind=kind):
                self._failures.labels(name, kind).inc()
            case PushUploadFinished():
                self._count_archive(event)
            case _:
                pass

    def _count_archive(self, event: PushUploadFinished) -> None:
        self._archives.labels(event.archive_kind).inc()
        self._entries.inc(event.entries)
        self._files_read.inc(event.files_read)
        self._bytes.inc(event.bytes)
        self._sent.inc(event.sent_bytes)
        self._copied.inc(event.copied_bytes)

    def _count_push(
        self, event: PushOutcome | PushSuperseded | PushNothingToDo | PushDeadLettered
    ) -> None:
        match event:
            case PushNothingToDo():
                self._pushes.labels("nothing-to-do").inc()
            case PushDeadLettered():
                self._pushes.labels("rejected").inc()
            case PushOutcome() | PushSuperseded():
                self._pushes.labels(event.verdict).inc()
        if isinstance(event, PushBuilt | PushHandedOver):
            self._to_build.observe(event.since_push_seconds)

    def _count_queue(self, event: Event) -> None:
        match event:
            case QueuePolled(messages=messages):
                self._polls.labels("messages" if messages else "empty").inc()
                self._received.inc(messages)
            case QueueReceiveFailed():
                self._polls.labels("failed").inc()
            case LeaseRenewed():
                self._leases.labels("renewed").inc()
            case LeaseRenewalFailed():
                self._leases.labels("renewal-failed").inc()
            case LeaseLostToAnother():
                self._leases.labels("lost").inc()
            case LaneReleased(messages=messages):
                self._released.inc(messages)
            case _:
                pass


def _end_of(event: StageEnded) -> str:
    match event:
        case StageFinished():
            return "finished"
        case StageFailed():
            return "failed"
        case _:
            return "cancelled"
