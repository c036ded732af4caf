"""History of the service: it hears every event and keeps those worth showing.

All of it is bounded. It begins with the process; older pushes are in the ledger in the bucket.
"""

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.events.event import Emitted, Event, PushIdentity
from asyncbuild.domain.events.push_events import (
    PushDeadLettered,
    PushNothingToDo,
    PushOutcome,
    PushSuperseded,
)
from asyncbuild.domain.events.queue_events import QueuePolled, QueueReceiveFailed
from asyncbuild.domain.events.result_events import ResultRecorded
from asyncbuild.domain.events.service_events import ServiceStarted
from asyncbuild.domain.events.stage_events import (
    PushUploadFinished,
    StageEnded,
    StageFailed,
    StageStarted,
)
from asyncbuild.runtime.recent import Recent
from asyncbuild.status.outages import Outages
from asyncbuild.status.results.rounds import Rounds
from asyncbuild.status.results.shown import lone_row, replaces, shown_event, started_id
from asyncbuild.status.schema import (
    STARTED,
    DeadLetterStatus,
    ResultStatus,
    SettledPush,
    Totals,
    Trouble,
)
from asyncbuild.status.time_series import Recorder

_SETTLED_MOST: Final = 100
_DEAD_LETTERS_MOST: Final = 50
_TROUBLES_MOST: Final = 30
_UNDER_WAY_MOST: Final = 10_000
# Parts in which similar warnings differ: ids, addresses, amounts.
_VARIES: Final = re.compile(r"\b[0-9a-f]{7,}\b|[0-9]+")


class Chronicle:
    """Subscriber to events (`emit.subscribed`) that keeps a history."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.started = clock()
        self.polled: float | None = None
        self.poll_failure = ""
        self.settled: deque[SettledPush] = deque(maxlen=_SETTLED_MOST)
        self.dead_letters: deque[DeadLetterStatus] = deque(maxlen=_DEAD_LETTERS_MOST)
        self.outages = Outages(clock)
        self.rounds = Rounds(clock)
        self._troubles: Recent[tuple[str, ...], Trouble] = Recent(_TROUBLES_MOST)
        self.recorder = Recorder()
        self._stages: dict[str, dict[str, float]] = {}
        self._verdicts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._archives: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()

    def hear(self, told: Emitted) -> None:
        """Add one event to the history."""
        self.outages.hear(told)
        self.rounds.hear(told)
        if told.level in {"warning", "error"} and not _is_shown_as_dead_letter(told.event):
            self._keep_trouble(told)
        match told.event:
            case StageStarted() as event:
                self._begin_stage(told.event_id, event)
            case StageEnded() as event:
                self._end_stage(told, event)
            case ServiceStarted() | QueuePolled():  # at the start the queue's attributes were read
                self.polled, self.poll_failure = self._clock(), ""
            case QueueReceiveFailed(reason=reason):
                self.poll_failure = reason
            case PushOutcome() | PushSuperseded() as event if told.push is not None:
                self._keep_outcome(told.push, event)
            case ResultRecorded() as event if told.push is not None:
                self._keep_result(told.push, event)
            case PushNothingToDo():
                self._count_settled("nothing-to-do")
            case PushDeadLettered() as event:
                self._keep_dead_letter(event)
            case _:
                pass

    def stage_of(self, event_id: str) -> tuple[str, float | None]:
        """Return the innermost stage that runs for a push, and its start."""
        stages = self._stages.get(event_id)
        if not stages:
            return "", None
        name = next(reversed(stages))
        return name, stages[name]

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Warnings and errors, similar ones folded into one; newest first."""
        return tuple(reversed(self._troubles.values()))

    def totals(self) -> Totals:
        """Return the totals since the start."""
        return Totals(
            pushes=dict(self._verdicts),
            failures=dict(self._failures),
            archives=self._archives["archives"],
            archive_bytes=self._archives["bytes"],
            sent_bytes=self._archives["sent_bytes"],
            copied_bytes=self._archives["copied_bytes"],
            entries=self._archives["entries"],
            results=dict(self._ends),
        )

    def show_result(self, build_id: str, seen: ResultStatus) -> bool:
        """Show a result in the row of its build, unless a newer one is; return if there is a row.

        Args:
            build_id: Id of the build or execution that the push started.
            seen: Its state.
        """
        for index, row in enumerate(self.settled):
            if build_id in {row.build_id, row.execution_id}:
                if replaces(seen, row.result, ends_again=bool(row.execution_id)):
                    self.settled[index] = replace(row, result=seen)
                return True
        return False

    def _begin_stage(self, event_id: str, event: StageStarted) -> None:
        self._stages.setdefault(event_id, {})[_short(event.stage_name)] = self._clock()
        if len(self._stages) > _UNDER_WAY_MOST:
            self._stages.pop(next(iter(self._stages)))

    def _end_stage(self, told: Emitted, event: StageEnded) -> None:
        stages = self._stages.get(told.event_id, {})
        stages.pop(_short(event.stage_name), None)
        if not stages:
            self._stages.pop(told.event_id, None)
        match event:
            case StageFailed(kind=kind) if told.level != "debug":  # the outer stage reports it
                self._failures[kind] += 1
                self.recorder.count_failed(self._clock())
            case PushUploadFinished():
                self._count_archive(event)
            case _:
                pass

    def _count_archive(self, event: PushUploadFinished) -> None:
        self._archives["archives"] += 1
        self._archives["bytes"] += event.bytes
        self._archives["sent_bytes"] += event.sent_bytes
        self._archives["copied_bytes"] += event.copied_bytes
        self._archives["entries"] += event.entries
        self.recorder.count_sent(self._clock(), event.sent_bytes)

    def _count_settled(self, verdict: str, *, since_push_seconds: float | None = None) -> None:
        self._verdicts[verdict] += 1
        self.recorder.count_settled(
            self._clock(), built=verdict in STARTED, since_push_seconds=since_push_seconds
        )

    def _keep_outcome(self, push: PushIdentity, event: PushOutcome | PushSuperseded) -> None:
        settled = _settled(self._clock(), push, event)
        self._count_settled(settled.verdict, since_push_seconds=settled.since_push_seconds)
        # The build of a fast machine may have ended before its start was told.
        lone = next(
            (row for row in self.settled if row.result_alone and _are_one(row, settled)), None
        )
        if lone is not None:
            self.settled.remove(lone)
            settled = replace(settled, result=lone.result)
        self.settled.appendleft(settled)

    def _keep_result(self, push: PushIdentity, event: ResultRecorded) -> None:
        now = self._clock()
        if event.status.is_end:
            self._ends[event.status.value] += 1
            self.recorder.count_end(now, event.status)
        shown = self.show_result(event.build_id, shown_event(event, now=now))
        # A round tells of every build that runs; those of other tasks would push out all others.
        if not shown and event.status.is_end:
            self.settled.appendleft(lone_row(push, event, now=now))

    def _keep_dead_letter(self, event: PushDeadLettered) -> None:
        self._count_settled("rejected")
        self.dead_letters.appendleft(
            DeadLetterStatus(
                time=self._clock(),
                message_id=event.message_id,
                event_id=event.event_id,
                repository=event.repository,
                ref=event.ref,
                commit=event.commit,
                kind=event.kind,
                reason=event.reason,
                attempts=event.attempts,
            )
        )

    def _keep_trouble(self, told: Emitted) -> None:
        now, said = self._clock(), told.fields()
        alike = _similarity_key(told, said)
        before = self._troubles.get(alike)
        self._troubles[alike] = Trouble(
            time=now,
            event=told.event.name,
            level=told.level,
            repository=said.get("repository"),
            ref=said.get("ref"),
            kind=said.get("kind"),
            reason=_reason(said),
            count=before.count + 1 if before else 1,
            first=before.first if before else now,
        )


def _are_one(row: SettledPush, other: SettledPush) -> bool:
    of = started_id(row)
    return of is not None and of == started_id(other)


def _short(stage_name: str) -> str:
    return stage_name.removeprefix("push.")


def _settled(now: float, push: PushIdentity, event: PushOutcome | PushSuperseded) -> SettledPush:
    settled = SettledPush(
        time=now,
        event_id=push.event_id,
        account=push.account,
        repository=push.repository,
        ref=push.ref,
        commit=push.commit,
        verdict=event.verdict.value,
    )
    if isinstance(event, PushSuperseded):
        return replace(settled, reason=f"by push {event.by}")
    timings = {
        "fetch": event.fetch_seconds,
        "archive": event.archive_seconds,
        "start": event.start_seconds,
    }
    return replace(
        settled,
        reason=event.reason,
        project=event.project,
        build_id=event.build_id,
        build_arn=event.build_arn,
        pipeline=event.pipeline,
        pipeline_arn=event.pipeline_arn,
        execution_id=event.execution_id,
        bucket=event.bucket,
        key=event.key,
        size_bytes=event.bytes,
        archive_kind=event.archive_kind,
        sent_bytes=event.sent_bytes,
        since_push_seconds=event.since_push_seconds,
        stages={name: seconds for name, seconds in timings.items() if seconds is not None},
    )


def _is_shown_as_dead_letter(event: Event) -> bool:
    """Return whether an event is shown among the dead letters, as a rejected push is, too."""
    match event:
        case PushDeadLettered() | StageFailed(kind=Kind.REJECT):
            return True
        case _:
            return False


def _reason(said: Mapping[str, Any]) -> str:
    return str(said.get("reason") or said.get("remedy") or "")


def _similarity_key(told: Emitted, said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a key that is equal for events of the same kind about different pushes or moments."""
    says = _reason(said)
    for name in ("repository", "ref", "commit", "event_id", "group", "message_id"):
        if value := said.get(name):
            says = says.replace(str(value), "")
    return (told.event.name, told.level, str(said.get("kind")), _VARIES.sub("", says))
