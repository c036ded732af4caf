"""Status documents and events for tests of views, without a service."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from asyncbuild.config import Settings
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.events.catalogue import EVENTS
from asyncbuild.domain.events.event import Emitted, LogLevel, PushIdentity
from asyncbuild.domain.model import Change, Message, Push, trace_id
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.domain.statistics import BudgetStatistics, MirrorStatistics, PipelineStatistics
from asyncbuild.pushes.work import Work
from asyncbuild.queue.counters import ConsumerState, InFlight
from asyncbuild.status.collect import Sampled, Survey
from asyncbuild.status.history import Chronicle
from asyncbuild.status.schema import Disk

HOSTILE = "<img src=x onerror=alert(1)>"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOW = 1_800_000_000.0


class Clock:
    """A clock that shows the time it is set to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self.now


def line(event: str, level: LogLevel | None = None, **fields: object) -> Emitted:
    """Return an event about one push; fields that are not given are None."""
    class_: Any = EVENTS[event]
    push: dict[str, Any] = {
        "event_id": "event-1",
        "account": "123456789012",
        "repository": "web",
        "ref": "refs/heads/main",
        "commit": COMMIT,
    }
    own = {name: fields[name] for name in push if name in fields}
    push |= own
    identity = PushIdentity(**push, trace_id=trace_id(str(push["event_id"])))
    told = class_(**{name: {**push, **fields}.get(name) for name in class_.field_names})
    return Emitted(told, level or class_.levels[0], identity if class_.of_push or own else None)


def built(event: str = "push.built", **fields: object) -> Emitted:
    """Return the event of a started build."""
    usual = {
        "reason": "rule: every-branch",
        "rule": "every-branch",
        "project": "web",
        "build_id": "web:1",
        "build_arn": "arn:aws:codebuild:eu-west-1:123456789012:build/web:1",
        "bucket": "sources",
        "key": "web/main/1.zip",
        "bytes": 1_000,
        "since_push_seconds": 2.0,
        "fetch_seconds": 0.5,
        "archive_seconds": 0.25,
        "start_seconds": 0.125,
    }
    return line(event, None, **{**usual, **fields})


def handed_over(**fields: object) -> Emitted:
    """Return the event of a started execution of a pipeline."""
    usual = {
        "project": None,
        "build_id": None,
        "build_arn": None,
        "pipeline": "deploy",
        "pipeline_arn": "arn:aws:codepipeline:eu-west-1:123456789012:deploy",
        "execution_id": "11111111-2222-3333-4444-555555555555",
    }
    return built("push.handed-over", **{**usual, **fields})


def ended(status: BuildStatus = BuildStatus.SUCCEEDED, **fields: object) -> Emitted:
    """Return the event of a recorded result, by default of the build that `built` starts."""
    usual = {
        "status": status,
        "project": "web",
        "build_id": "web:1",
        "attempt": 1,
        "build_number": 17,
        "phase": "BUILD" if status.is_failed else "",
        "exit_code": 2 if status is BuildStatus.FAILED else None,
        "queued_seconds": 4.0,
        "provisioning_seconds": 20.0,
        "building_seconds": 168.0,
        "total_seconds": 192.0,
        "since_end_seconds": 1.5,
        "since_push_seconds": 194.0,
        "started_at": datetime.fromtimestamp(NOW, UTC),
        "ended_at": datetime.fromtimestamp(NOW + 192, UTC),
        "log_link": "https://console.aws.amazon.com/cloudwatch/home#logEvent:group=g;stream=s",
    }
    return line("result.recorded", None, **{**usual, **fields})


def work(*, group: str = "group-1") -> Work:
    """Return a message in flight that cannot be read as an event."""
    message = Message("message-1", "no event", "handle", group, 1)
    return Work(message, Reject("no event"))


def held(
    event_id: str,
    *,
    repository: str = "web",
    ref: str = "refs/heads/main",
    state: str = "paused",
    reason: str = "",
    sent: float | None = None,
) -> InFlight:
    """Return a push in flight."""
    moment = datetime.fromtimestamp(sent, UTC) if sent is not None else None
    push = Push(
        id=event_id,
        repository=Repository.of_codecommit("123456789012", "eu-west-1", repository),
        ref=ref,
        commit=COMMIT,
        change=Change.UPDATED,
        time=moment or datetime.fromtimestamp(NOW, UTC),
    )
    message = Message(f"m-{event_id}", "{}", "handle", repository, 1, sent=moment)
    return InFlight(Work(message, push), state, reason)


def state(
    lanes: Mapping[str, tuple[InFlight, ...]] | None = None, **changes: object
) -> ConsumerState:
    """Return the state of a consumer with eight free places and the given lanes."""
    usual: dict[str, Any] = {
        "lanes": lanes or {},
        "consumers": 8,
        "consumers_free": 8,
        "jobs_waiting": 0,
        "stopping": False,
        "pipeline": PipelineStatistics({}, MirrorStatistics(), BudgetStatistics(100, 0, 0, 0, 0)),
    }
    return ConsumerState(**{**usual, **changes})


def survey(chronicle: Chronicle, clock: Clock, *, shown: ConsumerState | None = None) -> Survey:
    """Return a survey of `shown`, of a service that lacks nothing."""
    sampled = Sampled(disk=Disk(2**40, 2**39))
    return Survey(Settings(), lambda: shown or state(), chronicle, sampled, clock)
