"""What others keep from being done: services that are away, and limits that are reached.

Heard from the log's lines. A push that failed because of another side waits for it until that side
answers again, or until the push itself is settled or no longer held by this process. Whether it is
us or the git server is told by this list: a fault of ours is never in it.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from asyncbuild.events import STAGES
from asyncbuild.status.document import Outage

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


@dataclass(slots=True)
class _Trouble:
    """One side that does not serve us. `waiting`: repository by event id."""

    since: float
    last: float
    failures: int = 0
    reason: str = ""
    waiting: dict[str, str] = field(default_factory=dict)


class Outages:
    """Listens (`logs.listening`); `current` tells what lasts."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._troubles: dict[tuple[str, str, str], _Trouble] = {}

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

    def current(self, held: AbstractSet[str]) -> tuple[Outage, ...]:
        """What lasts, longest first; `held` are the event ids of all pushes in flight here."""
        found = []
        for (peer, kind, place), trouble in list(self._troubles.items()):
            trouble.waiting = {i: name for i, name in trouble.waiting.items() if i in held}
            if not trouble.waiting and peer != "sqs":
                del self._troubles[peer, kind, place]
                continue
            found.append(
                Outage(
                    peer=peer,
                    kind=kind,
                    place=place,
                    since=trouble.since,
                    last=trouble.last,
                    failures=trouble.failures,
                    pushes=len(trouble.waiting),
                    repositories=len(set(trouble.waiting.values())),
                    reason=trouble.reason,
                )
            )
        return tuple(sorted(found, key=lambda each: (each.kind != AWAY, each.since)))

    def _fail(self, peer: str, place: str, line: Mapping[str, Any]) -> None:
        now, kind = self._clock(), line["kind"]
        event_id = line.get("event_id", "")
        if kind not in {AWAY, LIMIT} or not peer:
            self._forget(event_id)  # it fails by itself now
            return
        trouble = self._troubles.setdefault((peer, kind, place), _Trouble(now, now))
        trouble.last, trouble.reason = now, line["reason"]
        trouble.failures += 1
        if event_id and len(trouble.waiting) < _PUSHES_MOST:
            trouble.waiting[event_id] = line["repository"]

    def _succeed(self, event: str, line: Mapping[str, Any]) -> None:
        place = str(line.get("mirror", "")).partition("/")[0]
        for peer in _ANSWERED.get(event, ()):
            self._troubles.pop((peer, AWAY, place if peer == "git" else ""), None)
            if peer == "sqs":  # it names no push that would be settled
                self._troubles.pop((peer, LIMIT, ""), None)
        if event in _ANSWERED or event == "push.dead-lettered":
            self._forget(line.get("event_id") or "")

    def _forget(self, event_id: str) -> None:
        for key, trouble in list(self._troubles.items()):
            if trouble.waiting.pop(event_id, None) is not None and not trouble.waiting:
                del self._troubles[key]
