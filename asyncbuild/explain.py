"""`asyncbuild explain`: what became of a push, and why, from the ledger alone."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from rich.console import Console
from rich.filesize import decimal

from asyncbuild.aws import Aws
from asyncbuild.builds.ledger import Ledger
from asyncbuild.config import Settings
from asyncbuild.errors import ConfigError
from asyncbuild.storage.s3 import Store

_SHORT = 10
_COLOURS = {"built": "green", "handed-over": "green", "uploaded": "green", "rejected": "red"}

Record = Mapping[str, Any]


async def run(
    settings: Settings,
    repository: str,
    what: str | None,
    days: float,
    most: int,
    as_json: bool,  # noqa: FBT001 - called by position
) -> int:
    """Print the newest `most` records of the last `days`; 1 if there are none.

    Args:
        settings: Names bucket and ledger prefix.
        repository: Its name, or ACCOUNT/REGION/NAME.
        what: A branch, a full ref, a commit or the beginning of one, or an event id.
        days: How far back to look, by the time of the push.
        most: How many to show.
        as_json: One JSON object a line instead of a text.
    """
    if not settings.storage.bucket:
        raise ConfigError("storage.bucket is empty", remedy="the ledger is kept there; set it")
    async with Aws(settings).open_s3(pool=4) as s3:
        ledger = Ledger(Store(s3, settings.storage), prefix=settings.storage.ledger_prefix)
        since = datetime.now(UTC) - timedelta(days=days)
        records = [
            record
            for each in await ledger.find_repositories(repository)
            async for record in ledger.iter_pushes(each, since=since)
            if what is None or is_about(record, what)
        ]
    # Events tell seconds only; what was recorded first was pushed first.
    records = sorted(records, key=lambda each: str(each["recorded_at"]))[-most:]
    if as_json:
        for record in records:
            sys.stdout.write(orjson.dumps(record).decode() + "\n")
    else:
        _show(records, repository, what, days)
    return 0 if records else 1


def is_about(record: Record, what: str) -> bool:
    """Whether a record is about this ref, commit or event."""
    ref, commit = str(record.get("ref") or ""), str(record.get("commit") or "")
    return what in {
        ref,
        ref.partition("/")[2].partition("/")[2],
        str(record.get("event_id")),
    } or commit.startswith(what.lower())


def _show(records: Sequence[Record], repository: str, what: str | None, days: float) -> None:
    console = Console(highlight=False)
    if not records:
        about = f"{repository} {what}" if what else repository
        console.print(
            f"No record of {about} in the last {days:g} days.\n"
            "Either no event came (see the queue and the rule that fills it), or it still waits.",
            markup=False,
        )
        return
    for record in records:
        console.print(*_lines_of(record), sep="\n", soft_wrap=True)


def _lines_of(record: Record) -> Iterator[str]:
    """A line to scan, and indented below it what only one who searches reads."""
    verdict = str(record.get("verdict"))
    colour = _COLOURS.get(verdict, "yellow")
    pushed = str(record.get("pushed_at") or record.get("recorded_at"))[:19].replace("T", " ")
    head = (
        f"[{colour}]{verdict:<11}[/]",
        _text(record.get("commit"))[:_SHORT],
        _text(record.get("ref")),
    )
    yield "  ".join((pushed, *filter(None, head)))
    for name, value in (
        ("why", record.get("reason")),
        ("started", _what_was_started(record)),
        ("archive", _where_it_lies(record)),
        ("made", _how_it_was_made(record)),
    ):
        if value:
            yield f"    [dim]{name:<7}[/]  {_text(value)}"


def _what_was_started(record: Record) -> str:
    build = record.get("build")
    execution = record.get("execution")  # since there are pipelines; older records have none
    if build:
        return str(build["id"])
    return f"{execution['pipeline']}:{execution['id']}" if execution else ""


def _where_it_lies(record: Record) -> str:
    archive = record.get("archive")
    return f"s3://{archive['bucket']}/{archive['key']}" if archive else ""


def _how_it_was_made(record: Record) -> str:
    """Kind of the archive, commit of its base, what it took. The base's key is in `--json`."""
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


def _text(value: object) -> str:
    """A ref may look like Rich's markup."""
    return str(value or "").replace("[", "\\[")
