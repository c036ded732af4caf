"""`asyncbuild explain`: the outcome of a push, and its reason.

The ledger holds outcomes; the service's own port (`status.listen`) knows which pushes still wait,
and for what. Without an answer there, only the ledger is shown.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from asyncbuild.commands import explain_text as explained
from asyncbuild.commands.explain_ledger import open_ledger
from asyncbuild.commands.explain_results import dumped
from asyncbuild.commands.explain_text import Line, Record
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError, Reject, StageError
from asyncbuild.domain.foreign_text import plain, to_json
from asyncbuild.status import remote
from asyncbuild.status.schema import HeldPush, LaneStatus, Status

_COLOURS: Final = {
    "started": "green",
    "handed over": "green",
    "uploaded": "green",
    "rejected": "red",
    "passed": "green",
    "failed": "red",
    "timed": "red",
    "ended": "red",  # by a fault
}
_ASK_SECONDS: Final = 2.0
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """One question to `explain`.

    Attributes:
        repository: Its name, or ACCOUNT/REGION/NAME; empty for all.
        what: A branch, a full ref, a commit or the beginning of one, or an event id; None for all.
        since: Earliest time of a push.
        most: How many to show.
        slowest: Sort by duration: repositories, or the pushes of one.
        failed: Only pushes whose builds or executions have failed.
        address: Where the service shows its status; empty for `status.listen`.
        as_json: One JSON object a line instead of a text.
    """

    repository: str
    what: str | None
    since: datetime
    most: int
    slowest: bool = False
    failed: bool = False
    address: str = ""
    as_json: bool = False


def parse_since(text: str, now: datetime) -> datetime:
    """Return a time: `90s`, `10m`, `24h`, `2d`, `1w` before `now`, or an ISO 8601 one, else in UTC.

    Raises:
        ValueError: The text is neither.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])[a-z]*", text.strip())
    if found:
        return now - timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    moment = datetime.fromisoformat(text.strip())
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def run(settings: Settings, question: ExplainRequest) -> int:
    """Print what is known; return 0, or 1 if nothing is.

    Raises:
        ConfigError: No bucket is set.
        StageError: S3 refused.
    """
    if not settings.storage.bucket:
        raise ConfigError("storage.bucket is empty", remedy="the ledger is kept there; set it")
    async with open_ledger(settings) as ledger:
        records = await ledger.find_records(
            question.repository, question.what, since=question.since, failed=question.failed
        )
        if question.slowest and not question.repository:
            return _show_slowest(records, question)
        records = await ledger.with_results(_chosen(records, question))
    if question.slowest:
        return _show_slow_pushes(records, question)
    status, silence = await _ask(settings, question)
    held = list(_held(status, question)) if status and not question.failed else []
    if question.as_json:
        _dump([*records, *(_waiting(*each) for each in held)])
    else:
        _show(records, held, status, question, now=_now(settings))
        if not records and not held:
            sys.stdout.write(_nothing(question, status, silence))
    return 0 if records or held else 1


def _chosen(records: Sequence[Record], question: ExplainRequest) -> Sequence[Record]:
    """Return the records to show: the slowest ones, slowest first, or the last ones, in order."""
    if question.slowest:
        slow = [each for each in records if explained.seconds_of(each)]
        slow.sort(key=lambda each: explained.seconds_of(each)["total"], reverse=True)
        return slow[: question.most]
    # Events have whole seconds only; the first one recorded was pushed first.
    return sorted(records, key=lambda each: str(each.get("recorded_at")))[-question.most :]


def _now(settings: Settings) -> datetime | None:
    """Return the current time if the service asks for results, else None."""
    return datetime.now(UTC) if settings.results.url else None


def _dump(records: Sequence[Record]) -> None:
    for record in records:
        sys.stdout.write(to_json(dumped(record), newline=True).decode())


async def _ask(settings: Settings, question: ExplainRequest) -> tuple[Status | None, str]:
    """Return the service's status, or the reason why there is none."""
    try:
        url = remote.document_url(question.address, settings.status)
        async with remote.open_session(settings, timeout_seconds=_ASK_SECONDS) as session:
            return await remote.fetch(session, url), ""
    except StageError as error:
        if question.address:
            raise
        return None, error.reason


def _held(status: Status, question: ExplainRequest) -> Iterator[tuple[HeldPush, LaneStatus]]:
    asked = question.repository
    for lane in status.lanes:
        if asked not in {"", lane.repository, f"{lane.account}/{lane.region}/{lane.repository}"}:
            continue
        for push in lane.pushes:
            known = {"ref": push.ref, "commit": push.commit, "event_id": push.event_id}
            if question.what is None or explained.is_about(question.what, **known):
                yield push, lane


def _waiting(push: HeldPush, lane: LaneStatus) -> dict[str, Any]:
    """Return a waiting push in the form of a record, for `--json`."""
    place = {"account": lane.account, "region": lane.region, "name": lane.repository}
    return {"verdict": "waiting", "repository": place, **asdict(push)}


def _show(
    records: Sequence[Record],
    held: Sequence[tuple[HeldPush, LaneStatus]],
    status: Status | None,
    question: ExplainRequest,
    *,
    now: datetime | None = None,
) -> None:
    console = Console(highlight=False)
    every = not question.repository
    for record in records:
        name = explained.name_of(record) if every else ""
        _print(console, explained.lines_of(record, repository=name, now=now))
    for push, lane in held if status else ():
        moment = status.time if status else 0.0
        _print(console, explained.lines_of_waiting(push, lane, moment, name=every))


def _print(console: Console, lines: Iterator[Line]) -> None:
    for line in lines:
        shown = plain(line.text)
        if line.label:
            text = Text.assemble("    ", (f"{line.label:<7}", "dim"), "  ", shown)
        else:
            text = Text(shown)
        if line.verdict:
            text.highlight_words([line.verdict], _COLOURS.get(line.verdict, "yellow"))
        console.print(text, soft_wrap=True)


def _show_slowest(records: Sequence[Record], question: ExplainRequest) -> int:
    """Print the slowest repositories."""
    rows = explained.slowness_of(records)[: question.most]
    if question.as_json:
        for row in rows:
            sys.stdout.write(to_json(row, newline=True).decode())
    elif rows:
        sys.stdout.write("\n".join([*map(plain, explained.table_of(rows, Console().width)), ""]))
    else:
        sys.stdout.write(_nothing(question, None, ""))
    return 0 if rows else 1


def _show_slow_pushes(records: Sequence[Record], question: ExplainRequest) -> int:
    """Print the slowest pushes of one repository."""
    if question.as_json:
        _dump(records)
    else:
        _show(records, (), None, question)
    return 0 if records else 1


def _nothing(question: ExplainRequest, status: Status | None, silence: str) -> str:
    about = " ".join(filter(None, (question.repository or "any repository", question.what)))
    if question.failed:
        return f"No failed build of {about} since {_told(question.since)}.\n"
    lines = [f"No record of {about} since {_told(question.since)}."]
    if status is None:
        lines += [
            "Either no event came (see the queue and the rule that fills it), or it still waits.",
            *(
                [f"What waits is not known: {silence}. --address names the service."]
                * bool(silence)
            ),
        ]
    else:
        waiting = status.queue.waiting if status.queue else None
        queue = "an unknown number of" if waiting is None else str(waiting)
        lines += [
            f"The service that answers does not hold it; {queue} messages wait in the queue.",
            "If none is this push, no event came: see the rule that fills the queue.",
        ]
    return "\n".join([*lines, ""])


def _told(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def question_of(
    repository: str | None,
    what: str | None,
    *,
    days: float,
    since: str,
    now: datetime,
    **more: Any,  # noqa: ANN401 - the rest of a `ExplainRequest`
) -> ExplainRequest:
    """Return the command's arguments as a question.

    Args:
        repository: Its name; None for all.
        what: A branch, a ref, a commit or an event id; None for all.
        days: How far back to look, if `since` is empty.
        since: A duration or a time, as `parse_since` reads it.
        now: The current time.
        more: Further fields of the request.

    Raises:
        Reject: `since` is neither a duration nor a time.
    """
    try:
        begin = parse_since(since, now) if since else now - timedelta(days=days)
    except ValueError as error:
        raise Reject(
            f"--since {since}: no duration and no time",
            remedy="write 10m, 24h or 2d, or a time such as 2026-11-23T04:49",
        ) from error
    return ExplainRequest(repository or "", what, begin, **more)
