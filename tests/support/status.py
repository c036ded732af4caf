"""Status documents and log lines to look at, with nothing behind them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from asyncbuild.config import Settings
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Change, Message, Push
from asyncbuild.domain.repository import Repository
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
    """Shows the time it is told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.now


def line(event: str, level: str = "info", **fields: object) -> Mapping[str, Any]:
    """A log line about one push."""
    push = {
        "event_id": "event-1",
        "account": "123456789012",
        "repository": "web",
        "ref": "refs/heads/main",
        "commit": COMMIT,
    }
    return {"event": event, "level": level, **push, **fields}


def built(**fields: object) -> Mapping[str, Any]:
    """The line of a started build."""
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
    return {**line("push.built"), **usual, **fields}


def handed_over(**fields: object) -> Mapping[str, Any]:
    """The line of a started execution of a pipeline."""
    usual = {
        "project": None,
        "build_id": None,
        "build_arn": None,
        "pipeline": "deploy",
        "pipeline_arn": "arn:aws:codepipeline:eu-west-1:123456789012:deploy",
        "execution_id": "11111111-2222-3333-4444-555555555555",
    }
    return {**built(), "event": "push.handed-over", **usual, **fields}


def work(*, group: str = "group-1") -> Work:
    """A message in hand that nobody understands."""
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
    """A push in flight."""
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
    """Eight consumers, all free, and what is in hand."""
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
    """A survey of `shown`, of a service that lacks nothing."""
    sampled = Sampled(disk=Disk(2**40, 2**39))
    return Survey(Settings(), lambda: shown or state(), chronicle, sampled, clock)
