"""Sentences of `asyncbuild explain` about ledger records and waiting pushes. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import mean, median
from typing import Any, Final

from rich.filesize import decimal

from asyncbuild.commands.explain_results import result_lines
from asyncbuild.domain.errors import Reject, reading
from asyncbuild.status import phrases as wording
from asyncbuild.status.schema import HeldPush, LaneStatus

_SHORT: Final = 10
_STEPS: Final = ("fetch", "archive", "start")
_DONE: Final = frozenset({"built", "handed-over", "uploaded"})

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a push's summary, or a detail below it, which is indented and has a label.

    `verdict` is a word of the text that is shown in a colour.
    """

    text: str
    label: str = ""
    verdict: str = ""


def is_about(what: str, *, ref: str, commit: str, event_id: str) -> bool:
    """Return whether `what` names this push: branch, full ref, event, or prefix of the commit.

    Args:
        what: Word of the command line.
        ref: Full name of the push's ref.
        commit: Id of its commit.
        event_id: Id of its event.
    """
    short = ref.partition("/")[2].partition("/")[2]
    return what in {ref, short, event_id} or commit.startswith(what.lower())


def is_record_about(record: Record, what: str) -> bool:
    """Return whether `what` names the push of this record, as `is_about`."""
    ref, commit = str(record.get("ref") or ""), str(record.get("commit") or "")
    return is_about(what, ref=ref, commit=commit, event_id=str(record.get("event_id")))


def lines_of(
    record: Record, *, repository: str = "", now: datetime | None = None
) -> Iterator[Line]:
    """Yield the lines of a record; a malformed one never raises.

    Args:
        record: The record.
        repository: Name that the first line has, if any.
        now: The current time, if results are asked for: then a missing one is told.
    """
    try:
        with reading("record"):
            yield from list(_iter_lines(record, repository, now))
    except Reject as error:
        yield Line(f"{'unreadable':<11}  {repository}".rstrip(), verdict="unreadable")
        yield Line(error.reason, "why")


def _iter_lines(record: Record, repository: str, now: datetime | None) -> Iterator[Line]:
    verdict = wording.outcome(str(record.get("verdict")))
    pushed = record.get("pushed_at") or record.get("recorded_at")
    when = f"{_moment(pushed):%Y-%m-%d %H:%M:%S} UTC" if pushed else ""
    about = (str(record.get("commit") or "")[:_SHORT], str(record.get("ref") or ""))
    words = (when, f"{verdict:<11}", repository, *about)
    yield Line("  ".join(filter(None, words)).rstrip(), verdict=verdict)
    for label, value in (
        ("why", record.get("reason")),
        ("asked", _who_asked(record)),
        ("started", _what_was_started(record)),
        *result_lines(record, now=now),
        ("archive", _where_it_lies(record)),
        ("made", how_it_was_made(record)),
        ("took", how_long_it_took(record)),
    ):
        if value:
            text = str(value)
            yield Line(text, label, verdict=text.split(maxsplit=1)[0] if label == "result" else "")


def lines_of_waiting(push: HeldPush, lane: LaneStatus, now: float, *, name: bool) -> Iterator[Line]:
    """Yield the lines of a push that is in flight in a running service.

    Args:
        push: The push.
        lane: Its lane.
        now: Time of the status, in seconds since 1970.
        name: Whether to show the repository's name.
    """
    sent = datetime.fromtimestamp(push.sent if push.sent is not None else now, UTC)
    repository = wording.name_of(lane) if name else ""
    about = (push.commit[:_SHORT], push.ref)
    words = (f"{sent:%Y-%m-%d %H:%M:%S} UTC", f"{'waiting':<11}", repository, *about)
    yield Line("  ".join(filter(None, words)), verdict="waiting")
    received = f", delivered {push.received} times" if push.received > 1 else ""
    since = f" for {wording.age(now - push.since)}" if push.since else ""
    yield Line(f"{wording.doing(push)}{since}{received}", "now")
    if push.reason:
        yield Line(push.reason, "why")
    if push.sent is not None:
        yield Line(f"{wording.age(now - push.sent)} since it came to the queue", "waits")


def how_it_was_made(record: Record) -> str:
    """Return the archive's kind, its base's commit and its costs. `--json` has the base's key."""
    archive = record.get("archive")
    if not archive:
        return ""
    if archive.get("reused"):
        return "was there"
    base = str(archive.get("base") or "").rpartition("/")[2].removesuffix(".zip")[:_SHORT]
    of = f" of {base}" if base else ""
    told = [
        f"{decimal(archive.get('sent_bytes', 0))} sent",
        f"{decimal(archive['copied_bytes'])} copied" if archive.get("copied_bytes") else "",
        f"{archive['files_read']:,} files read" if archive.get("files_read") else "",
    ]
    return f"{archive.get('kind', 'full')}{of}: {', '.join(filter(None, told))}"


def how_long_it_took(record: Record) -> str:
    """Return a line such as `1.57 s: waited 1.20 s, fetch 0.10 s, archive 0.02 s, start 0.25 s`."""
    whole = seconds_of(record)
    if not whole:
        return ""
    total = wording.seconds(whole.pop("total"))
    done = {name: value for name, value in whole.items() if name == "waited" or value > 0}
    parts = ", ".join(f"{name} {wording.seconds(value)}" for name, value in done.items())
    attempts = int(record.get("attempts") or 1)
    tries = f"; {attempts} attempts" if attempts > 1 else ""
    return ": ".join(filter(None, (total, parts))) + tries


def seconds_of(record: Record) -> dict[str, float]:
    """Return `total` seconds from the push (its event's time, in whole seconds) to the record.

    Then the seconds of each stage; `waited` is the rest: in the queue, for a consumer, for its
    turn, for another try. Empty for a record that has no times, or none that can be read.
    """
    try:
        with reading("record"):
            return _seconds_of(record)
    except Reject:
        return {}


def _seconds_of(record: Record) -> dict[str, float]:
    if not record.get("pushed_at") or not record.get("recorded_at"):
        return {}
    total = (_moment(record["recorded_at"]) - _moment(record["pushed_at"])).total_seconds()
    timings = {name: float((record.get("timings") or {}).get(name, 0)) for name in _STEPS}
    known = {name: value for name, value in timings.items() if record.get("timings")}
    total = max(total, 0.0)
    return {
        "total": total,
        **({"waited": max(0.0, total - sum(known.values())), **known} if known else {}),
    }


@dataclass(frozen=True, slots=True)
class Slowness:
    """Durations of the pushes of one repository, in seconds; `stages` are means."""

    repository: str
    pushes: int
    median: float
    slowest: float
    stages: Mapping[str, float]


def slowness_of(records: Sequence[Record]) -> list[Slowness]:
    """Return durations by repository, slowest median first, of pushes built or uploaded."""
    by_name: dict[str, list[dict[str, float]]] = {}
    for record in records:
        seconds = seconds_of(record)
        if seconds and str(record.get("verdict")) in _DONE:
            by_name.setdefault(name_of(record), []).append(seconds)
    found = [
        Slowness(
            name,
            len(each),
            median(one["total"] for one in each),
            max(one["total"] for one in each),
            {step: mean(one.get(step, 0.0) for one in each) for step in ("waited", *_STEPS)},
        )
        for name, each in by_name.items()
    ]
    return sorted(found, key=lambda each: each.median, reverse=True)


def table_of(rows: Sequence[Slowness], width: int) -> list[str]:
    """Return one line a repository, for a terminal of `width` columns."""
    titles = ("pushes", "median", "slowest", "waited", "fetch", "archive", "start")
    room = max(10, width - sum(len(_cell(title)) for title in titles))
    lines = ["repository".ljust(room) + "".join(_cell(title) for title in titles)]
    for row in rows:
        name = row.repository if len(row.repository) <= room else row.repository[: room - 1] + "…"
        values = (row.median, row.slowest, *row.stages.values())
        cells = (str(row.pushes), *(wording.brief(value) for value in values))
        lines.append(name.ljust(room) + "".join(_cell(cell) for cell in cells))
    return lines


def name_of(record: Record) -> str:
    """Return the repository's name."""
    repository = record.get("repository") or {}
    return str(repository.get("name", "")) if isinstance(repository, Mapping) else str(repository)


def _cell(text: str) -> str:
    return text.rjust(9)


def _moment(value: object) -> datetime:
    moment = datetime.fromisoformat(str(value))
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _who_asked(record: Record) -> str:
    """Return who asked for a build on request, and why; empty for a push."""
    request = record.get("request")
    if not isinstance(request, Mapping):
        return ""
    by, reason = (str(request.get(name) or "") for name in ("requested_by", "reason"))
    told = f"{request.get('source')}{', again' if request.get('again') else ''}"
    return ": ".join(filter(None, (f"{told}{f' by {by}' if by else ''}", reason)))


def _what_was_started(record: Record) -> str:
    build = record.get("build")
    execution = record.get("execution")  # older records have none
    if build:
        return str(build["id"])
    return f"{execution['pipeline']}:{execution['id']}" if execution else ""


def _where_it_lies(record: Record) -> str:
    archive = record.get("archive")
    return f"s3://{archive['bucket']}/{archive['key']}" if archive else ""
