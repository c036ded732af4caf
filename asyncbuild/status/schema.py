"""Schema of `/status.json`: values for the page, `asyncbuild top` and other readers.

Times are seconds since the epoch, durations seconds, sizes bytes. A field may be added; if one
changes its meaning or goes, `version` grows. `docs/observability.md` describes every field.
"""

from dataclasses import dataclass, field

VERSION = 1
STARTED = frozenset({"built", "handed-over"})  # verdicts with something that now runs


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of readiness."""

    name: str
    ok: bool
    says: str


@dataclass(frozen=True, slots=True)
class Service:
    """Identity of this process."""

    version: str
    started: float
    queue: str
    bucket: str
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages in the queue by SQS's own, approximate count; `held` are in flight in any task."""

    waiting: int
    held: int
    dead_letters: int
    time: float


@dataclass(frozen=True, slots=True)
class ConsumerCounts:
    """Counts of consumers; `jobs_waiting` pushes could be prepared at once with more of them."""

    total: int
    free: int
    jobs_waiting: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of an archive: files and bytes read of the tree, bytes written of the zip."""

    entries: int
    tar_bytes: int
    zip_bytes: int


@dataclass(frozen=True, slots=True)
class HeldPush:
    """A push in flight. `state` is the lane's; `stage` runs for it since `since`."""

    event_id: str
    ref: str
    commit: str
    state: str
    stage: str = ""
    since: float | None = None
    sent: float | None = None
    received: int = 1
    reason: str = ""
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One message group in flight: a repository, its pushes in the queue's order."""

    group: str
    account: str
    region: str
    repository: str
    working: bool
    pushes: tuple[HeldPush, ...]


@dataclass(frozen=True, slots=True)
class ResultStatus:
    """Newest known state of a started build or execution; unknown values are None.

    `superseded_by_commit` is the commit of the newer push for which it was stopped.
    """

    time: float
    status: str
    attempt: int = 1
    build_number: int | None = None
    phase: str = ""
    exit_code: int | None = None
    queued_seconds: float | None = None
    provisioning_seconds: float | None = None
    building_seconds: float | None = None
    total_seconds: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    log_link: str | None = None
    superseded_by_commit: str | None = None


@dataclass(frozen=True, slots=True)
class SettledPush:
    """A push, or one target of it, that was settled. `stages` are seconds by stage.

    `result_alone` is true if this task knows the result of a build but not its start: another task
    started it, or so many pushes were settled since that it is not among those kept.
    """

    time: float
    event_id: str
    account: str
    repository: str
    ref: str
    commit: str
    verdict: str
    reason: str = ""
    project: str | None = None
    build_id: str | None = None
    build_arn: str | None = None
    bucket: str | None = None
    key: str | None = None
    size_bytes: int | None = None
    archive_kind: str | None = None
    sent_bytes: int | None = None
    since_push_seconds: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    pipeline: str | None = None
    pipeline_arn: str | None = None
    execution_id: str | None = None
    result: ResultStatus | None = None
    result_alone: bool = False

    @property
    def started(self) -> bool:
        """True if a build or a pipeline was started."""
        return self.verdict in STARTED


@dataclass(frozen=True, slots=True)
class DeadLetterStatus:
    """A message that was given up."""

    time: float
    message_id: str
    event_id: str | None
    repository: str | None
    ref: str | None
    commit: str | None
    kind: str
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Similar warnings or errors that were logged; all fields but `first` are of the newest."""

    time: float
    event: str
    level: str
    repository: str | None
    ref: str | None
    kind: str | None
    reason: str
    count: int = 1
    first: float | None = None


@dataclass(frozen=True, slots=True)
class OutageStatus:
    """Outage or limit of another side, now or before, and the pushes that wait or waited for it."""

    peer: str
    kind: str
    place: str
    since: float
    last: float
    failures: int
    pushes: int
    repositories: int
    reason: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """Cache of bare mirrors; counts since the start, the rest as last measured."""

    mirrors: int
    size_bytes: int
    budget_bytes: int
    present: int
    fetched: int
    fetches: int
    evictions: int
    renewals: int
    processes: dict[str, int]


@dataclass(frozen=True, slots=True)
class MemoryStatus:
    """Memory budget of all archives being made."""

    total_bytes: int
    reserved_bytes: int
    held_bytes: int
    archives: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Disk:
    """File system of the cache directory."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals since the start: pushes by verdict, failed tries by kind, archives and their bytes.

    `results` counts the ends of builds that this task recorded, by status.
    """

    pushes: dict[str, int]
    failures: dict[str, int]
    archives: int
    archive_bytes: int
    sent_bytes: int
    copied_bytes: int
    entries: int
    results: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """Counts of `bucket_seconds` from `begin` on; seconds are None where no push was settled."""

    begin: float
    built: int
    settled: int
    failed: int
    sent_bytes: int
    median_seconds: float | None = None
    slowest_seconds: float | None = None
    builds_passed: int = 0
    builds_failed: int = 0


@dataclass(frozen=True, slots=True)
class ResultsStatus:
    """Way of the results: their queue, and the newest round over unfinished builds.

    The last three are None unless this task made a round in the last half hour.
    """

    queue: Depth | None = None
    round_at: float | None = None
    unfinished: int | None = None
    oldest_unfinished_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Counts of the last `window_seconds`, oldest first."""

    window_seconds: int
    bucket_seconds: int
    buckets: tuple[SeriesPoint, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Whole status at one moment."""

    version: int
    time: float
    service: Service
    ready: bool
    checks: tuple[Check, ...]
    queue: Depth | None
    consumers: ConsumerCounts
    groups_in_work: int
    groups_waiting: int
    oldest_waiting_seconds: float
    lanes: tuple[LaneStatus, ...]
    recent: tuple[SettledPush, ...]
    dead_letters: tuple[DeadLetterStatus, ...]
    troubles: tuple[Trouble, ...]
    mirrors: MirrorStatus
    memory: MemoryStatus
    disk: Disk | None
    totals: Totals
    series: Series
    state: str = ""
    outages: tuple[OutageStatus, ...] = ()
    past_outages: tuple[OutageStatus, ...] = ()
    results: ResultsStatus | None = None
