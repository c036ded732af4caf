"""Services that are away and limits that are reached, from the lines of the log.

Heard from the log's lines. A push that failed because of another side waits for it until that side
answers again, or until the push itself is settled or no longer held by this process. Whether it is
us or the git server is told by this list: a fault of ours is never in it.
"""

from collections import deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Final

from asyncbuild.domain.events import STAGES
from asyncbuild.status.schema import OutageStatus

AWAY: Final = "outage"
LIMIT: Final = "busy"
# Every other side that an error can name (`StageError.peer`).
PEERS: Final = ("git", "s3", "sqs", "codebuild", "codepipeline")
# A line that shows that a side has answered. Each outcome is written to the ledger, in S3.
_ANSWERED: Final[Mapping[str, tuple[str, ...]]] = {
    "queue.polled": ("sqs",),
    "fetch.finished": ("git",),
    "push.upload.finished": ("s3",),
    "push.built": ("s3", "codebuild"),
    "push.handed-over": ("s3", "codepipeline"),
    "push.uploaded": ("s3",),
    "push.ignored": ("s3",),
    "push.stale": ("s3",),
    "push.superseded": ("s3",),
    "push.nothing-to-do": ("s3",),
}
_PUSHES_MOST: Final = 10_000
_PAST_MOST: Final = 20
_PAST_LEAST_SECONDS: Final = 1.0  # a single call that failed and was repeated is not worth a row
_SAME_SECONDS: Final = 60.0  # what comes back sooner has not been over


@dataclass(slots=True)
class _OpenOutage:
    """One side that does not serve us. `waiting`: repository by event id; `most`: of those ever."""

    since: float
    last: float
    failures: int = 0
    reason: str = ""
    waiting: dict[str, str] = field(default_factory=dict)
    most: tuple[int, int] = (0, 0)  # pushes, and their repositories


class Outages:
    """Listens (`logs.listening`); `current` tells what lasts."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._troubles: dict[tuple[str, str, str], _OpenOutage] = {}
        self._past: deque[OutageStatus] = deque(maxlen=_PAST_MOST)

    @property
    def past(self) -> tuple[OutageStatus, ...]:
        """Outages that are over, newest first; `pushes` is the most that waited at one time."""
        return tuple(reversed(self._past))

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take in one line of the log."""
        event = line["event"]
        if event == "queue.receive-failed":
            self._fail("sqs", "", line)
        elif event.endswith(".failed") and event.removesuffix(".failed") in STAGES:
            if line["level"] != "debug":  # else the stage around it tells the same
                peer = line.get("peer") or ("git" if line["kind"] == AWAY else "")
                # A forge is the account of its repositories: one may be away, another not.
                self._fail(peer, line["account"] if peer == "git" else "", line)
        else:
            self._succeed(event, line)

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

    def _fail(self, peer: str, place: str, line: Mapping[str, Any]) -> None:
        now, kind = self._clock(), line["kind"]
        event_id = line.get("event_id", "")
        if kind not in {AWAY, LIMIT} or not peer:
            self._forget(event_id)  # it fails by itself now
            return
        trouble = self._troubles.setdefault((peer, kind, place), _OpenOutage(now, now))
        trouble.last, trouble.reason = now, line["reason"]
        trouble.failures += 1
        if event_id and len(trouble.waiting) < _PUSHES_MOST:
            trouble.waiting[event_id] = line["repository"]
            now_waiting = (len(trouble.waiting), len(set(trouble.waiting.values())))
            trouble.most = max(trouble.most, now_waiting)

    def _succeed(self, event: str, line: Mapping[str, Any]) -> None:
        place = str(line.get("mirror", "")).partition("/")[0]
        for peer in _ANSWERED.get(event, ()):
            self._end((peer, AWAY, place if peer == "git" else ""))
            if peer == "sqs":  # it names no push that would be settled
                self._end((peer, LIMIT, ""))
        if event in _ANSWERED or event == "push.dead-lettered":
            self._forget(line.get("event_id") or "")

    def _forget(self, event_id: str) -> None:
        for key, trouble in list(self._troubles.items()):
            if trouble.waiting.pop(event_id, None) is not None and not trouble.waiting:
                self._end(key)

    def _end(self, key: tuple[str, str, str]) -> None:
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


def _is_same(before: OutageStatus, ended: OutageStatus) -> bool:
    ours = (before.peer, before.kind, before.place) == (ended.peer, ended.kind, ended.place)
    return ours and ended.since - (before.until or 0.0) < _SAME_SECONDS


def _outage(
    key: tuple[str, str, str],
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
