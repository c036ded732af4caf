"""Gauges for Prometheus, read at each scrape: pushes in flight, outages, the disk."""

from collections import Counter as Counts
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from asyncbuild.git.process.command import ProcessKind
from asyncbuild.queue.counters import ConsumerState
from asyncbuild.queue.lane.protocol import State
from asyncbuild.status.collect import WORKING, Survey, oldest_waiting_seconds
from asyncbuild.status.outages import AWAY, LIMIT, PEERS

_STATES: Final = tuple(state.value for state in State if state is not State.SETTLED)
_PURPOSES: Final = tuple(work.value for work in ProcessKind)


class InFlightGauges(Collector):
    """Collector of gauges, which takes one survey for each scrape."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey

    def describe(self) -> Iterable[Metric]:
        """Return nothing, because no state can be read before the service is open."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield all gauges with their values of now."""
        survey = self._survey
        state, now = survey.state(), survey.clock()
        survey.sampled.asked_at = now
        ready = all(check.ok for check in survey.checks(now, state))
        yield _gauge("ready", "Whether this task can do its work (/readyz): 1 or 0.", ready)
        yield from self._of_others(state, now)
        yield from _of_lanes(state, now)
        yield from _of_mirrors(state)
        yield from _of_memory(state)
        yield from self._of_round()
        yield from self._of_samples()

    def _of_round(self) -> Iterable[Metric]:
        newest = self._survey.chronicle.rounds.newest
        found = newest[1] if newest else None
        yield _gauge(
            "unfinished_builds",
            "Started builds without an end, after the newest round that this task made; 0 if it "
            "made none in the last half hour.",
            found.unfinished if found else 0,
        )
        yield _gauge(
            "oldest_unfinished_seconds",
            "Age in seconds of the oldest of the unfinished builds; 0 without one.",
            found.oldest_seconds if found else 0,
        )

    def _of_others(self, state: ConsumerState, now: float) -> Iterable[Metric]:
        longest: dict[tuple[str, str], float] = {}
        for each in self._survey.outages(state):
            key = (each.kind, each.peer)
            longest[key] = max(longest.get(key, 0.0), now - each.since)
        for kind, name, says in (
            (
                AWAY,
                "outage_seconds",
                "Seconds for which another side has been away; 0 if it is not.",
            ),
            (
                LIMIT,
                "limit_seconds",
                "Seconds for which another side has been at its limit; else 0.",
            ),
        ):
            values = {peer: longest.get((kind, peer), 0.0) for peer in PEERS}
            yield _gauges(name, says, "peer", values)

    def _of_samples(self) -> Iterable[Metric]:
        disk, depth = self._survey.sampled.disk, self._survey.sampled.depth
        if disk is not None:
            free = "Bytes free on the file system with the mirrors."
            yield _gauge("disk_free_bytes", free, disk.free_bytes)
            size = "Size of the file system with the mirrors, in bytes."
            yield _gauge("disk_bytes", size, disk.total_bytes)
        if depth is not None:
            waiting = "Messages waiting in the queue, by SQS's approximate count."
            yield _gauge("queue_messages_waiting", waiting, depth.waiting)
            held = "Messages in flight in any task, by SQS's approximate count."
            yield _gauge("queue_messages_held", held, depth.held)
            dead = "Messages in the dead-letter queue, by SQS's approximate count."
            yield _gauge("dead_letters", dead, depth.dead_letters)


def _of_lanes(state: ConsumerState, now: float) -> Iterable[Metric]:
    working = sum(any(h.state in WORKING for h in held) for held in state.lanes.values())
    yield _gauges(
        "lanes",
        "Lanes (message groups in flight in this task), by whether a push of it is worked on.",
        "state",
        {"working": working, "waiting": len(state.lanes) - working},
    )
    states = Counts(h.state for held in state.lanes.values() for h in held)
    yield _gauges(
        "messages",
        "Messages in flight in this task, by the lane's state.",
        "state",
        {name: states[name] for name in _STATES},
    )
    yield _gauge("consumers", "Pushes that can be prepared at the same time.", state.consumers)
    yield _gauge("consumers_free", "Consumers without a push.", state.consumers_free)
    yield _gauge("jobs_waiting", "Pushes that wait for a free consumer.", state.jobs_waiting)
    oldest = oldest_waiting_seconds(state, now)
    says = "Age in seconds of the oldest push in flight, from its arrival in the queue."
    yield _gauge("oldest_waiting_seconds", says, oldest)


def _of_mirrors(state: ConsumerState) -> Iterable[Metric]:
    mirrors = state.pipeline.mirrors
    yield _gauge("mirrors", "Bare mirrors on the disk.", mirrors.mirrors)
    yield _gauge("mirror_bytes", "Bytes of all mirrors on the disk.", mirrors.size_bytes)
    commits = CounterMetricFamily(
        "asyncbuild_mirror_commits",
        "Commits that a push needed: present in the mirror, or fetched.",
        labels=["how"],
    )
    commits.add_metric(["present"], mirrors.present)
    commits.add_metric(["fetched"], mirrors.fetched)
    yield commits
    for name, says, value in (
        ("git_fetches", "Git fetches begun.", mirrors.fetches),
        ("mirror_evictions", "Mirrors deleted to make room.", mirrors.evictions),
        ("mirror_renewals", "Corrupt mirrors deleted and fetched again.", mirrors.renewals),
    ):
        yield CounterMetricFamily(f"asyncbuild_{name}", says, value=value)
    running = {purpose: mirrors.processes.get(purpose, 0) for purpose in _PURPOSES}
    yield _gauges("git_processes", "Git processes running, by purpose.", "purpose", running)


def _of_memory(state: ConsumerState) -> Iterable[Metric]:
    memory = state.pipeline.memory
    for name, says, value in (
        ("budget_bytes", "Bytes of memory for all archives in work.", memory.total_bytes),
        ("reserved_bytes", "Bytes of that memory promised to archives.", memory.reserved_bytes),
        ("held_bytes", "Bytes of that memory in use by archives.", memory.held_bytes),
        ("waiting", "Archives and chunks that wait for memory.", memory.waiting),
    ):
        yield _gauge(f"memory_{name}", says, value)


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"asyncbuild_{name}", says, value=float(value))


def _gauges(name: str, says: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    made = GaugeMetricFamily(f"asyncbuild_{name}", says, labels=[label])
    for value, number in values.items():
        made.add_metric([value], float(number))
    return made
