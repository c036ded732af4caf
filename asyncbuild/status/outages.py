"""Outages and limits of other sides, from the events of pushes and of the queue.

A push that failed because of another side waits for it until that side answers again, or until the
push itself is settled or no longer held by this process. The list shows whether the service or
another side fails: a fault of the service is never in it.
"""

from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Emitted, Event
from asyncbuild.domain.events.git_events import FetchFinished
from asyncbuild.domain.events.push_events import (
    PushBuilt,
    PushDeadLettered,
    PushHandedOver,
    PushNothingToDo,
    PushOutcome,
    PushSuperseded,
)
from asyncbuild.domain.events.queue_events import QueuePolled, QueueReceiveFailed
from asyncbuild.domain.events.stage_events import PushUploadFinished, StageFailed
from asyncbuild.status.schema import OutageStatus

AWAY: Final = Kind.OUTAGE
LIMIT: Final = Kind.BUSY
# Every other side that an error can name (`StageError.peer`).
PEERS: Final = ("git", "s3", "sqs", "codebuild", "codepipeline")
_PUSHES_MOST: Final = 10_000
_PAST_MOST: Final = 20
_PAST_LEAST_SECONDS: Final = 1.0  # a single call that failed and was repeated is not worth a row
_SAME_SECONDS: Final = 60.0  # an outage that returns sooner had not ended


@dataclass(slots=True)
class _OpenOutage:
    """Outage of one side. `waiting`: repository by event id; `most`: the most that ever waited."""

    since: float
    last: float
    failures: int = 0
    reason: str = ""
    waiting: dict[str, str] = field(default_factory=dict)
    most: tuple[int, int] = (0, 0)  # pushes, and their repositories


class Outages:
    """Subscriber to events (`emit.subscribed`); `current` returns the outages that last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._troubles: dict[tuple[str, Kind, str], _OpenOutage] = {}
        self._past: deque[OutageStatus] = deque(maxlen=_PAST_MOST)

    @property
    def past(self) -> tuple[OutageStatus, ...]:
        """Outages that are over, newest first; `pushes` is the most that waited at one time."""
        return tuple(reversed(self._past))

    def hear(self, told: Emitted) -> None:
        """Update the outages by one event."""
        match told.event:
            case QueueReceiveFailed(kind=kind, reason=reason):
                self._fail(told, ("sqs", kind, ""), reason)
            case StageFailed(kind=kind, reason=reason) as event:
                if told.level != "debug":  # otherwise the stage around it reports the same
                    peer = event.peer or ("git" if kind == AWAY else "")
                    # A forge is the account of its repositories: one may be away, another not.
                    place = told.push.account if told.push and peer == "git" else ""
                    self._fail(told, (peer, kind, place), reason)
            case PushDeadLettered():
                self._forget(told.event_id)
            case _:
                self._succeed(told)

    def current(self, held: AbstractSet[str]) -> tuple[OutageStatus, ...]:
        """Return outages that last, longest first; `held`: event ids of pushes in flight here."""
        found = []
        for (peer, kind, place), trouble in list(self._troubles.items()):
            trouble.waiting = {i: name for i, name in trouble.waiting.items() if i in held}
            if not trouble.waiting and peer != "sqs":
                self._end((peer, kind, place))
                continue
            counts = (len(trouble.waiting), len(set(trouble.waiting.values())))
            found.append(_outage((peer, kind, place), trouble, counts))
        return tuple(sorted(found, key=lambda each: (each.kind != AWAY, each.since)))

    def _fail(self, told: Emitted, side: tuple[str, Kind, str], reason: str) -> None:
        now, (peer, kind, _) = self._clock(), side
        if kind not in {AWAY, LIMIT} or not peer:
            self._forget(told.event_id)  # the push fails by its own fault now
            return
        trouble = self._troubles.setdefault(side, _OpenOutage(now, now))
        trouble.last, trouble.reason = now, reason
        trouble.failures += 1
        if told.push and len(trouble.waiting) < _PUSHES_MOST:
            trouble.waiting[told.push.event_id] = told.push.repository
            now_waiting = (len(trouble.waiting), len(set(trouble.waiting.values())))
            trouble.most = max(trouble.most, now_waiting)

    def _succeed(self, told: Emitted) -> None:
        answered = _answered(told.event)
        for peer, place in answered:
            self._end((peer, AWAY, place))
            if peer == "sqs":  # a limit of SQS has no push that would end it
                self._end((peer, LIMIT, ""))
        if answered:
            self._forget(told.event_id)

    def _forget(self, event_id: str) -> None:
        for key, trouble in list(self._troubles.items()):
            if trouble.waiting.pop(event_id, None) is not None and not trouble.waiting:
                self._end(key)

    def _end(self, key: tuple[str, Kind, str]) -> None:
        trouble, now = self._troubles.pop(key, None), self._clock()
        if trouble is None:
            return
        ended = _outage(key, trouble, trouble.most, until=now)
        before = next((each for each in self._past if _is_same(each, ended)), None)
        if before is not None:
            self._past.remove(before)
            ended = replace(
                ended,
                since=before.since,
                failures=before.failures + ended.failures,
                pushes=max(before.pushes, ended.pushes),
                repositories=max(before.repositories, ended.repositories),
            )
        if now - ended.since >= _PAST_LEAST_SECONDS:
            self._past.append(ended)


def _answered(event: Event) -> tuple[tuple[str, str], ...]:
    """Return the sides that an event shows to have answered, for git with the account or forge.

    Each outcome of a push is written to the ledger, in S3.
    """
    match event:
        case QueuePolled():
            return (("sqs", ""),)
        case FetchFinished(mirror=mirror):
            return (("git", mirror.partition("/")[0]),)
        case PushBuilt():
            return (("s3", ""), ("codebuild", ""))
        case PushHandedOver():
            return (("s3", ""), ("codepipeline", ""))
        case PushUploadFinished() | PushOutcome() | PushSuperseded() | PushNothingToDo():
            return (("s3", ""),)
        case _:
            return ()


def _is_same(before: OutageStatus, ended: OutageStatus) -> bool:
    ours = (before.peer, before.kind, before.place) == (ended.peer, ended.kind, ended.place)
    return ours and ended.since - (before.until or 0.0) < _SAME_SECONDS


def _outage(
    key: tuple[str, Kind, str],
    trouble: _OpenOutage,
    counts: tuple[int, int],
    *,
    until: float | None = None,
) -> OutageStatus:
    peer, kind, place = key
    pushes, repositories = counts
    return OutageStatus(
        peer=peer,
        kind=kind,
        place=place,
        since=trouble.since,
        last=trouble.last,
        failures=trouble.failures,
        pushes=pushes,
        repositories=repositories,
        reason=trouble.reason,
        until=until,
    )
