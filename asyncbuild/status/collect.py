"""Survey of the service: pushes in flight, past events, and readiness, as one `Status`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from asyncbuild import __version__
from asyncbuild.config.sections import DISK_FREE_LEAST_BYTES
from asyncbuild.config.settings import Settings
from asyncbuild.domain.model import Nothing, Push
from asyncbuild.domain.repository import PathSegments, Repository
from asyncbuild.domain.statistics import ZipStatistics
from asyncbuild.queue.counters import ConsumerState, InFlight
from asyncbuild.status.history import Chronicle
from asyncbuild.status.outages import AWAY, LIMIT
from asyncbuild.status.schema import (
    VERSION,
    Check,
    ConsumerCounts,
    Depth,
    Disk,
    HeldPush,
    LaneStatus,
    MemoryStatus,
    MirrorStatus,
    OutageStatus,
    Progress,
    ResultsStatus,
    Service,
    Status,
)

# States of a push that the service works on.
WORKING: Final = frozenset({"preparing", "starting", "settling", "burying"})
_POLL_LATE_SECONDS: Final = 60.0  # beyond the long poll itself


@dataclass(slots=True)
class Sampled:
    """Values that cost a call, hence are sampled now and then; often while a reader asks.

    `asked_at` is when anyone asked last, scrapes and probes too; `shown_at` when a reader did.
    """

    depth: Depth | None = None
    disk: Disk | None = None
    results_depth: Depth | None = None
    credentials_fault: str = ""
    asked_at: float = 0.0
    shown_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Survey:
    """Sources of the status; `take` makes a `Status` of them."""

    settings: Settings
    state: Callable[[], ConsumerState]
    chronicle: Chronicle
    sampled: Sampled
    clock: Callable[[], float]

    def show(self, *, window_seconds: int = 0) -> Status:
        """Return the status now for a reader; as `take`, which probes call."""
        self.sampled.shown_at = self.clock()
        return self.take(window_seconds=window_seconds)

    def take(self, *, window_seconds: int = 0) -> Status:
        """Return the status now; `window_seconds` is one of `time_series.WINDOWS`, 0 chooses."""
        now, state, chronicle = self.clock(), self.state(), self.chronicle
        self.sampled.asked_at = now
        seen = (self._lane(group, held, state) for group, held in state.lanes.items())
        lanes = tuple(sorted(seen, key=lambda lane: (lane.repository, lane.account, lane.group)))
        checks = self.checks(now, state)
        outages = self.outages(state)
        ready = all(check.ok for check in checks)
        working = sum(lane.working for lane in lanes)
        return Status(
            version=VERSION,
            time=now,
            service=self._service(state),
            ready=ready,
            checks=checks,
            queue=self.sampled.depth,
            consumers=ConsumerCounts(state.consumers, state.consumers_free, state.jobs_waiting),
            groups_in_work=working,
            groups_waiting=len(lanes) - working,
            oldest_waiting_seconds=oldest_waiting_seconds(state, now),
            lanes=lanes,
            recent=tuple(chronicle.settled),
            dead_letters=tuple(chronicle.dead_letters),
            troubles=tuple(chronicle.troubles),
            mirrors=self._mirrors(state),
            memory=_memory(state),
            disk=self.sampled.disk,
            totals=chronicle.totals(),
            series=chronicle.recorder.series(
                now, uptime_seconds=now - chronicle.started, window_seconds=window_seconds
            ),
            state=_state_of(outages, ready=ready, stopping=state.stopping),
            outages=outages,
            past_outages=chronicle.outages.past,
            results=self._results() if self.settings.results.url else None,
        )

    def _results(self) -> ResultsStatus:
        newest = self.chronicle.rounds.newest
        if newest is None:
            return ResultsStatus(queue=self.sampled.results_depth)
        round_at, found = newest
        return ResultsStatus(
            queue=self.sampled.results_depth,
            round_at=round_at,
            unfinished=found.unfinished,
            oldest_unfinished_seconds=found.oldest_seconds,
        )

    def _service(self, state: ConsumerState) -> Service:
        return Service(
            version=__version__,
            started=self.chronicle.started,
            queue=self.settings.queue.url,
            bucket=self.settings.storage.bucket,
            stopping=state.stopping,
        )

    def outages(self, state: ConsumerState) -> tuple[OutageStatus, ...]:
        """Return the other sides that are away or at their limit."""
        return self.chronicle.outages.current(_held_ids(state))

    def checks(self, now: float, state: ConsumerState) -> tuple[Check, ...]:
        """Return the conditions of readiness."""
        return (self._check_poll(now, state), self._check_credentials(), self._check_disk())

    def _check_poll(self, now: float, state: ConsumerState) -> Check:
        polled, failure = self.chronicle.polled, self.chronicle.poll_failure
        if failure:
            return Check("queue", ok=False, says=f"the last receive failed: {failure}")
        if polled is None:
            return Check("queue", ok=False, says="the queue has not answered yet")
        ago = now - polled
        late = ago > self.settings.queue.wait_seconds + _POLL_LATE_SECONDS
        full = state.consumers_free <= state.jobs_waiting
        full = full or len(state.lanes) >= self.settings.lanes.most
        if late and not full:
            return Check("queue", ok=False, says=f"the last answer came {ago:.0f} seconds ago")
        return Check("queue", ok=True, says=f"answered {ago:.0f} seconds ago")

    def _check_credentials(self) -> Check:
        fault = self.sampled.credentials_fault
        return Check("credentials", ok=not fault, says=fault or "found")

    def _check_disk(self) -> Check:
        disk = self.sampled.disk
        where = self.settings.git.cache_directory
        if disk is None:
            return Check("disk", ok=False, says=f"{where} cannot be looked at")
        free, least = disk.free_bytes / 2**20, DISK_FREE_LEAST_BYTES // 2**20
        if free >= least:
            return Check("disk", ok=True, says=f"{free / 2**10:.1f} GiB free at {where}")
        says = (
            f"{free:.0f} MiB free at {where}, and {least} MiB are needed: give it more space, or "
            "lower git.cache_budget_bytes"
        )
        return Check("disk", ok=False, says=says)

    def _lane(self, group: str, held: Sequence[InFlight], state: ConsumerState) -> LaneStatus:
        pushes = tuple(self._push(each, state) for each in held if each.state != "settled")
        repository = next((r for each in held if (r := _repository(each)) is not None), None)
        named = repository.segments if repository else PathSegments("", "", "")
        return LaneStatus(
            group=group,
            account=named.account,
            region=named.region,
            repository=named.name,
            working=any(each.state in WORKING for each in pushes),
            pushes=pushes,
        )

    def _push(self, held: InFlight, state: ConsumerState) -> HeldPush:
        push, message = held.work.push, held.work.message
        event_id = push.id if push else message.id
        stage, since = self.chronicle.stage_of(event_id) if push else ("", None)
        return HeldPush(
            event_id=event_id,
            ref=push.ref if push else _ref(held),
            commit=push.commit if push else "",
            state=held.state,
            stage=stage,
            since=since,
            sent=held.sent.timestamp() if held.sent else None,
            received=message.receive_count,
            reason=held.reason,
            progress=_progress(state.pipeline.archives.get(event_id)),
        )

    def _mirrors(self, state: ConsumerState) -> MirrorStatus:
        mirrors = state.pipeline.mirrors
        return MirrorStatus(
            mirrors=mirrors.mirrors,
            size_bytes=mirrors.size_bytes,
            budget_bytes=self.settings.git.cache_budget_bytes,
            present=mirrors.present,
            fetched=mirrors.fetched,
            fetches=mirrors.fetches,
            evictions=mirrors.evictions,
            renewals=mirrors.renewals,
            processes=dict(mirrors.processes),
        )


def _held_ids(state: ConsumerState) -> frozenset[str]:
    """Return the event ids of all pushes in flight."""
    return frozenset(
        push.id
        for held in state.lanes.values()
        for each in held
        if each.state != "settled"
        for push in each.work.pushes
    )


def _state_of(outages: Sequence[OutageStatus], *, ready: bool, stopping: bool) -> str:
    """Return the first that is true: `stopping`, `not-ready`, `outage`, `limit` or `ready`."""
    kinds = {each.kind for each in outages}
    states = {
        "stopping": stopping,
        "not-ready": not ready,
        "outage": AWAY in kinds,
        "limit": LIMIT in kinds,
    }
    return next((name for name, holds in states.items() if holds), "ready")


def oldest_waiting_seconds(state: ConsumerState, now: float) -> float:
    """Return the age of the oldest push in flight, in seconds; 0 if there is none."""
    sent = [
        each.sent.timestamp()
        for held in state.lanes.values()
        for each in held
        if each.sent is not None and each.state != "settled"
    ]
    return max(0.0, now - min(sent)) if sent else 0.0


def _repository(held: InFlight) -> Repository | None:
    event = held.work.event
    return event.repository if isinstance(event, Push | Nothing) else None


def _ref(held: InFlight) -> str:
    event = held.work.event
    return (event.ref or "") if isinstance(event, Nothing) else ""


def _progress(archive: ZipStatistics | None) -> Progress | None:
    if archive is None:
        return None
    return Progress(archive.entries, archive.tar_bytes, archive.zip_bytes)


def _memory(state: ConsumerState) -> MemoryStatus:
    memory = state.pipeline.memory
    return MemoryStatus(
        total_bytes=memory.total_bytes,
        reserved_bytes=memory.reserved_bytes,
        held_bytes=memory.held_bytes,
        archives=memory.accounts,
        waiting=memory.waiting,
    )
