"""What the service told of itself: it hears every log line and keeps what is worth showing.

Everything kept is bounded. It begins with the process; the ledger in the bucket knows the rest.
"""

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from asyncbuild.domain.errors import Kind
from asyncbuild.status.outages import Outages
from asyncbuild.status.schema import STARTED, DeadLetterStatus, SettledPush, Totals, Trouble
from asyncbuild.status.time_series import Recorder

_SETTLED_MOST: Final = 100
_DEAD_LETTERS_MOST: Final = 50
_TROUBLES_MOST: Final = 30
_UNDER_WAY_MOST: Final = 10_000
_TIMINGS: Final = ("fetch_seconds", "archive_seconds", "start_seconds")
_OUTCOMES: Final = frozenset(
    {
        "push.built",
        "push.handed-over",
        "push.uploaded",
        "push.ignored",
        "push.stale",
        "push.superseded",
    }
)
# What makes alike warnings differ: ids, addresses, amounts.
_VARIES: Final = re.compile(r"\b[0-9a-f]{7,}\b|[0-9]+")


class Chronicle:
    """Listens (`logs.listening`) and remembers."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.started = clock()
        self.polled: float | None = None
        self.poll_failure = ""
        self.settled: deque[SettledPush] = deque(maxlen=_SETTLED_MOST)
        self.dead_letters: deque[DeadLetterStatus] = deque(maxlen=_DEAD_LETTERS_MOST)
        self.outages = Outages(clock)
        self._troubles: dict[tuple[str, ...], Trouble] = {}
        self.recorder = Recorder()
        self._stages: dict[str, dict[str, float]] = {}
        self._verdicts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._archives: Counter[str] = Counter()
        self._hear: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "service.started": self._hear_poll,  # the queue's attributes were read
            "queue.polled": self._hear_poll,
            "queue.receive-failed": self._hear_failed_poll,
            "push.upload.finished": self._hear_archive,
            "push.nothing-to-do": self._hear_nothing,
            "push.dead-lettered": self._hear_dead_letter,
            **dict.fromkeys(_OUTCOMES, self._hear_outcome),
        }

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take in one line of the log."""
        event = line["event"]
        self.outages.hear(line)
        if line["level"] in {"warning", "error"} and not _is_told_elsewhere(line):
            self._hear_trouble(line)
        stage, _, what = event.rpartition(".")
        if what == "started" and stage.startswith("push."):
            self._stages.setdefault(line["event_id"], {})[stage[5:]] = self._clock()
            if len(self._stages) > _UNDER_WAY_MOST:
                self._stages.pop(next(iter(self._stages)))
        elif what in {"finished", "failed", "cancelled"} and stage.startswith("push."):
            self._end_stage(line, stage, what)
        hear = self._hear.get(event)
        if hear is not None:
            hear(line)

    def stage_of(self, event_id: str) -> tuple[str, float | None]:
        """The innermost stage that is under way for a push, and since when."""
        stages = self._stages.get(event_id)
        if not stages:
            return "", None
        name = next(reversed(stages))
        return name, stages[name]

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Warnings and errors, alike ones folded into one; newest first."""
        return tuple(reversed(self._troubles.values()))

    def totals(self) -> Totals:
        """Since the start."""
        return Totals(
            pushes=dict(self._verdicts),
            failures=dict(self._failures),
            archives=self._archives["archives"],
            archive_bytes=self._archives["bytes"],
            sent_bytes=self._archives["sent_bytes"],
            copied_bytes=self._archives["copied_bytes"],
            entries=self._archives["entries"],
        )

    def _end_stage(self, line: Mapping[str, Any], stage: str, what: str) -> None:
        stages = self._stages.get(line["event_id"], {})
        stages.pop(stage[5:], None)
        if not stages:
            self._stages.pop(line["event_id"], None)
        if what == "failed" and line["level"] != "debug":  # else the stage around it tells it
            self._failures[line["kind"]] += 1
            self.recorder.count_failed(self._clock())

    def _hear_poll(self, _: Mapping[str, Any]) -> None:
        self.polled = self._clock()
        self.poll_failure = ""

    def _hear_failed_poll(self, line: Mapping[str, Any]) -> None:
        self.poll_failure = line["reason"]

    def _hear_archive(self, line: Mapping[str, Any]) -> None:
        self._archives["archives"] += 1
        for name in ("bytes", "sent_bytes", "copied_bytes", "entries"):
            self._archives[name] += line.get(name, 0)
        self.recorder.count_sent(self._clock(), line.get("sent_bytes", 0))

    def _hear_outcome(self, line: Mapping[str, Any]) -> None:
        now, verdict = self._clock(), line["event"].removeprefix("push.")
        since = line.get("since_push_seconds")
        reason = line.get("reason") or (f"by push {line['by']}" if line.get("by") else "")
        self._verdicts[verdict] += 1
        self.recorder.count_settled(now, built=verdict in STARTED, since_push_seconds=since)
        stages = {name[:-8]: line[name] for name in _TIMINGS if line.get(name) is not None}
        self.settled.appendleft(
            SettledPush(
                time=now,
                event_id=line["event_id"],
                account=line["account"],
                repository=line["repository"],
                ref=line["ref"],
                commit=line["commit"],
                verdict=verdict,
                reason=reason,
                project=line.get("project"),
                build_id=line.get("build_id"),
                build_arn=line.get("build_arn"),
                pipeline=line.get("pipeline"),
                pipeline_arn=line.get("pipeline_arn"),
                execution_id=line.get("execution_id"),
                bucket=line.get("bucket"),
                key=line.get("key"),
                size_bytes=line.get("bytes"),
                archive_kind=line.get("archive_kind"),
                sent_bytes=line.get("sent_bytes"),
                since_push_seconds=since,
                stages=stages,
            )
        )

    def _hear_nothing(self, _: Mapping[str, Any]) -> None:
        self._verdicts["nothing-to-do"] += 1
        self.recorder.count_settled(self._clock(), built=False, since_push_seconds=None)

    def _hear_dead_letter(self, line: Mapping[str, Any]) -> None:
        now = self._clock()
        self._verdicts["rejected"] += 1
        self.recorder.count_settled(now, built=False, since_push_seconds=None)
        self.dead_letters.appendleft(
            DeadLetterStatus(
                time=now,
                message_id=line["message_id"],
                event_id=line["event_id"],
                repository=line["repository"],
                ref=line["ref"],
                commit=line["commit"],
                kind=line["kind"],
                reason=line["reason"],
                attempts=line["attempts"],
            )
        )

    def _hear_trouble(self, line: Mapping[str, Any]) -> None:
        now, alike = self._clock(), _alike(line)
        before = self._troubles.pop(alike, None)  # put in again: the newest is last
        self._troubles[alike] = Trouble(
            time=now,
            event=line["event"],
            level=line["level"],
            repository=line.get("repository"),
            ref=line.get("ref"),
            kind=line.get("kind"),
            reason=str(line.get("reason") or line.get("remedy") or ""),
            count=before.count + 1 if before else 1,
            first=before.first if before else now,
        )
        if len(self._troubles) > _TROUBLES_MOST:
            self._troubles.pop(next(iter(self._troubles)))


def _is_told_elsewhere(line: Mapping[str, Any]) -> bool:
    """Among the dead letters, that is, where a push that can never work ends, too."""
    event = line["event"]
    return event == "push.dead-lettered" or (
        event.endswith(".failed") and line.get("kind") == Kind.REJECT
    )


def _alike(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Equal for lines that say the same of different pushes, or at different moments."""
    says = str(line.get("reason") or line.get("remedy") or "")
    for name in ("repository", "ref", "commit", "event_id", "group", "message_id"):
        if value := line.get(name):
            says = says.replace(str(value), "")
    return (line["event"], line["level"], str(line.get("kind")), _VARIES.sub("", says))
