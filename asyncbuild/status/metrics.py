"""Prometheus: counters and histograms from the log's lines, gauges from a look at what is in hand.

A registry of its own, so that nothing of another library's is shown. `docs/observability.md`
describes every metric; a test compares.
"""

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from asyncbuild import __version__
from asyncbuild.events import STAGES
from asyncbuild.state import ConsumerState
from asyncbuild.status.survey import WORKING, Sampled, oldest_waiting_seconds

# From a small archive to a monorepository: 25 ms to 10 minutes.
_STAGE_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600)
_TO_BUILD_BUCKETS: Final = (0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3600)
_ENDS: Final = frozenset({"finished", "failed", "cancelled"})


class Metrics:
    """Listens (`logs.listening`) and counts; `expose` gives what a scrape gets."""

    def __init__(
        self, state: Callable[[], ConsumerState], sampled: Sampled, clock: Callable[[], float]
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        self._registry.register(_InHand(state, sampled, clock))
        ProcessCollector(registry=self._registry)
        Info("asyncbuild", "The running version.", registry=self._registry).info(
            {"version": __version__}
        )
        self._make_of_pushes()
        self._make_of_archives()
        self._make_of_queue()
        self._hear: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "push.built": self._hear_started,
            "push.handed-over": self._hear_started,
            "push.upload.finished": self._hear_archive,
            "push.nothing-to-do": lambda _: self._pushes.labels("nothing-to-do").inc(),
            "push.dead-lettered": lambda _: self._pushes.labels("rejected").inc(),
            "queue.polled": self._hear_poll,
            "queue.receive-failed": lambda _: self._polls.labels("failed").inc(),
            "archive.full": lambda line: self._fallbacks.labels(line["reason"]).inc(),
            "lease.renewed": lambda _: self._leases.labels("renewed").inc(),
            "lease.renewal-failed": lambda _: self._leases.labels("renewal-failed").inc(),
            "lease.lost": lambda _: self._leases.labels("lost").inc(),
            "lane.released": lambda line: self._released.inc(line["messages"]),
            "fetch.finished": lambda line: self._fetches.observe(line["duration_seconds"]),
        }
        for verdict in ("uploaded", "ignored", "stale", "superseded"):
            self._hear = {**self._hear, f"push.{verdict}": self._hear_outcome}

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take in one line of the log."""
        event = line["event"]
        if line["level"] in {"warning", "error"}:
            self._lines.labels(line["level"]).inc()
        stage, _, end = event.rpartition(".")
        if end in _ENDS and stage in STAGES:
            name = stage.removeprefix("push.")
            self._stages.labels(name, end).observe(line["duration_seconds"])
            if end == "failed":
                self._failures.labels(name, line["kind"]).inc()
        hear = self._hear.get(event)
        if hear is not None:
            hear(line)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """The exposition for an `Accept` header: body and content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _make_of_pushes(self) -> None:
        registry = self._registry
        self._pushes = Counter(
            "asyncbuild_pushes",
            "Pushes that came to their end, one for each target, by verdict.",
            ["verdict"],
            registry=registry,
        )
        self._to_build = Histogram(
            "asyncbuild_push_to_build_seconds",
            "From the push (its event's time, in whole seconds) to the started build or pipeline.",
            buckets=_TO_BUILD_BUCKETS,
            registry=registry,
        )
        self._stages = Histogram(
            "asyncbuild_stage_seconds",
            "Duration of a stage by how it ended.",
            ["stage", "end"],
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            "asyncbuild_stage_failures",
            "Tries of a stage that failed, by kind; those around it fail with it.",
            ["stage", "kind"],
            registry=registry,
        )

    def _make_of_archives(self) -> None:
        registry = self._registry
        self._archives = Counter(
            "asyncbuild_archives",
            "Archives that were finished, by the way they were made.",
            ["kind"],
            registry=registry,
        )
        self._fallbacks = Counter(
            "asyncbuild_archive_fallbacks",
            "Archives that could not begin from an older one, by reason.",
            ["reason"],
            registry=registry,
        )
        self._entries = Counter(
            "asyncbuild_archive_entries", "Files and links in them.", registry=registry
        )
        self._files_read = Counter(
            "asyncbuild_archive_files_read",
            "Of the entries, those that were read from git.",
            registry=registry,
        )
        self._bytes = Counter("asyncbuild_archive_bytes", "Their size.", registry=registry)
        self._sent = Counter("asyncbuild_sent_bytes", "Bytes sent to S3.", registry=registry)
        self._copied = Counter(
            "asyncbuild_copied_bytes", "Bytes copied inside S3, not sent.", registry=registry
        )

    def _make_of_queue(self) -> None:
        registry = self._registry
        self._polls = Counter(
            "asyncbuild_polls", "Receives by result.", ["result"], registry=registry
        )
        self._received = Counter("asyncbuild_messages_received", "Messages.", registry=registry)
        self._released = Counter(
            "asyncbuild_messages_released", "Messages given back undone.", registry=registry
        )
        self._leases = Counter(
            "asyncbuild_leases", "What happened to leases.", ["event"], registry=registry
        )
        self._fetches = Histogram(
            "asyncbuild_git_fetch_seconds",
            "One git fetch, which may serve several pushes.",
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._lines = Counter(
            "asyncbuild_log_lines", "Warnings and errors logged.", ["level"], registry=registry
        )

    def _hear_outcome(self, line: Mapping[str, Any]) -> None:
        self._pushes.labels(line["event"].removeprefix("push.")).inc()

    def _hear_started(self, line: Mapping[str, Any]) -> None:
        self._hear_outcome(line)
        self._to_build.observe(line["since_push_seconds"])

    def _hear_archive(self, line: Mapping[str, Any]) -> None:
        self._archives.labels(line["archive_kind"]).inc()
        self._entries.inc(line["entries"])
        self._files_read.inc(line["files_read"])
        self._bytes.inc(line["bytes"])
        self._sent.inc(line["sent_bytes"])
        self._copied.inc(line["copied_bytes"])

    def _hear_poll(self, line: Mapping[str, Any]) -> None:
        self._polls.labels("messages" if line["messages"] else "empty").inc()
        self._received.inc(line["messages"])


class _InHand(Collector):
    """Gauges, read when they are scraped."""

    def __init__(
        self, state: Callable[[], ConsumerState], sampled: Sampled, clock: Callable[[], float]
    ) -> None:
        self._state = state
        self._sampled = sampled
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: there is no state to read before the service is open."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Look at everything once."""
        state = self._state()
        self._sampled.asked_at = self._clock()
        yield from self._of_lanes(state)
        yield from _of_mirrors(state)
        memory = state.pipeline.memory
        yield _gauge("memory_budget_bytes", "Memory for all archives.", memory.total_bytes)
        yield _gauge("memory_reserved_bytes", "Promised to archives.", memory.reserved_bytes)
        yield _gauge("memory_held_bytes", "Held by archives.", memory.held_bytes)
        yield _gauge("memory_waiting", "Archives and chunks that wait for memory.", memory.waiting)
        disk, depth = self._sampled.disk, self._sampled.depth
        if disk is not None:
            yield _gauge("disk_free_bytes", "At the mirrors.", disk.free_bytes)
            yield _gauge("disk_bytes", "Size of that file system.", disk.total_bytes)
        if depth is not None:
            yield _gauge("queue_messages_waiting", "In the queue, by SQS.", depth.waiting)
            yield _gauge("queue_messages_held", "In flight, by SQS.", depth.held)
            yield _gauge("dead_letters", "In the dead-letter queue, by SQS.", depth.dead_letters)

    def _of_lanes(self, state: ConsumerState) -> Iterable[Metric]:
        working = sum(any(h.state in WORKING for h in held) for held in state.lanes.values())
        lanes = GaugeMetricFamily("asyncbuild_lanes", "Lanes in hand.", labels=["state"])
        lanes.add_metric(["working"], working)
        lanes.add_metric(["waiting"], len(state.lanes) - working)
        yield lanes
        states = Counts(h.state for held in state.lanes.values() for h in held)
        messages = GaugeMetricFamily(
            "asyncbuild_messages", "Messages in hand by state.", labels=["state"]
        )
        for name, count in sorted(states.items()):
            messages.add_metric([name], count)
        yield messages
        yield _gauge("consumers", "Pushes that can be prepared at once.", state.consumers)
        yield _gauge("consumers_free", "Consumers without a push.", state.consumers_free)
        yield _gauge("jobs_waiting", "Pushes that wait for a consumer.", state.jobs_waiting)
        oldest = oldest_waiting_seconds(state, self._clock())
        yield _gauge("oldest_waiting_seconds", "Age of the oldest push in hand.", oldest)


def _of_mirrors(state: ConsumerState) -> Iterable[Metric]:
    mirrors = state.pipeline.mirrors
    yield _gauge("mirrors", "Bare mirrors on the disk.", mirrors.mirrors)
    yield _gauge("mirror_bytes", "Their size.", mirrors.size_bytes)
    commits = CounterMetricFamily(
        "asyncbuild_mirror_commits",
        "Commits asked for, by whether a fetch was needed.",
        labels=["how"],
    )
    commits.add_metric(["present"], mirrors.present)
    commits.add_metric(["fetched"], mirrors.fetched)
    yield commits
    for name, says, value in (
        ("git_fetches", "Git fetches begun.", mirrors.fetches),
        ("mirror_evictions", "Mirrors deleted to make room.", mirrors.evictions),
        ("mirror_renewals", "Corrupt mirrors fetched anew.", mirrors.renewals),
    ):
        yield CounterMetricFamily(f"asyncbuild_{name}", says, value=value)
    processes = GaugeMetricFamily("asyncbuild_git_processes", "By purpose.", labels=["purpose"])
    for purpose, count in sorted(mirrors.processes.items()):
        processes.add_metric([purpose], count)
    yield processes


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"asyncbuild_{name}", says, value=value)
