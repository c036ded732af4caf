"""`asyncbuild report`: show reports that were given up and why, or send them again."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson

from asyncbuild.aws.session import Aws
from asyncbuild.commands.dead_letters import choose, write_list, write_whole
from asyncbuild.commands.dead_queue import DeadQueue, Letter, dead_message_of
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import ConfigError, Reject, reading
from asyncbuild.domain.reports.report import SENT_AGAIN, Report, read_report
from asyncbuild.queue.sqs import Queue

_LISTING: Final = "asyncbuild report"
_HINT: Final = "`asyncbuild report --again ID...` or `--all` sends them again."


@dataclass(frozen=True, slots=True)
class ReportLetter(Letter):
    """One message of the dead-letter queue of reports; `report` is None if its body holds none."""

    report: Report | None

    @property
    def about(self) -> str:
        """Repository, commit, context and state, for people."""
        if self.report is None:
            return "no report"
        repository, status = self.report.repository.full_name, self.report.status
        return f"{repository} {self.report.commit[:10]} {status.context} {status.state}"

    def told(self) -> dict[str, Any]:
        """Return what the body holds, as fields that `--json` shows."""
        report = self.report
        return {
            "repository": report.repository.path if report else None,
            "ref": report.ref if report else None,
            "commit": report.commit if report else None,
            "event_id": report.order.event_id if report else None,
            "context": report.status.context if report else None,
            "state": report.status.state if report else None,
        }


async def show(settings: Settings, ids: Sequence[str], as_json: bool) -> int:  # noqa: FBT001 - called by position
    """List all letters, or print those whose id begins with one of `ids`, whole; return 0.

    Args:
        settings: All settings.
        ids: Beginnings of ids; empty for all.
        as_json: Whether the list is JSON.

    Raises:
        ConfigError: reports.url is empty, or that queue has no dead-letter queue.
        Reject: No letter, or more than one, has such an id.
    """
    async with _open(settings) as dead, dead.open_all() as letters:
        chosen = choose(letters, ids, _LISTING) if ids else letters
    if as_json or ids:
        write_whole(chosen, indent=not as_json)
    else:
        write_list(letters, _HINT)
    return 0


async def send_again(settings: Settings, ids: Sequence[str]) -> int:
    """Send reports to their queue again, oldest of a group first; return 1 if one cannot be read.

    Args:
        settings: All settings.
        ids: Beginnings of ids; empty for all.

    Raises:
        ConfigError: reports.url is empty, or that queue has no dead-letter queue.
        Reject: No letter, or more than one, has such an id.
        StageError: SQS refused, or cannot be reached.
    """
    refused = 0
    async with _open(settings) as dead, dead.open_all() as letters:
        for letter in choose(letters, ids, _LISTING) if ids else letters:
            if letter.report is None:
                refused += 1
                sys.stderr.write(f"refused: {letter.id}: {letter.reason}\n")
                continue
            sys.stdout.write(await dead.return_letter(letter, {SENT_AGAIN: "true"}) + "\n")
    return 1 if refused else 0


def letter_of_report(item: Mapping[str, Any]) -> ReportLetter:
    """Return a received message of the dead-letter queue as a letter, also an unreadable one."""
    dead = dead_message_of(item)
    fault = ""
    report: Report | None = None
    try:
        with reading("report"):
            report = read_report(orjson.loads(dead.body))
    except Reject as error:
        fault = error.reason
    return ReportLetter(
        id=dead.id,
        body=dead.body,
        group=dead.group,
        receipt_handle=dead.receipt_handle,
        sent=dead.sent,
        reason=dead.reason(fault),
        kind=dead.kind,
        attempts=dead.attempts,
        report=report,
    )


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[DeadQueue[ReportLetter]]:
    """Open the dead-letter queue of the queue of reports.

    Raises:
        ConfigError: reports.url is empty, or that queue has no dead-letter queue.
    """
    if not settings.reports.url:
        raise ConfigError("reports.url is empty", remedy="set it to the queue of reports")
    async with Aws(settings).open_sqs(pool=4) as sqs:
        url, dead_url = settings.reports.url, settings.reports.dead_letter_url
        queue = Queue(polls=sqs, control=sqs, url=url, dead_letter_url=dead_url)
        dead_url = await queue.find_dead_letter_queue(await queue.facts())
        yield DeadQueue(sqs, url, dead_url, letter_of_report)
