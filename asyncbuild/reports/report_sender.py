"""Sender of reports: what a start, and the end of a build, say to the queue of reports."""

from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from asyncbuild.aws.classify import sqs_errors as errors_of
from asyncbuild.config.hosts import CommitStatusSettings
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.events.report_events import ReportNotSent
from asyncbuild.domain.reports.commit_status import STATE_OF, CommitStatus, StatusState
from asyncbuild.domain.reports.report import Report, ReportOrder, dump_report
from asyncbuild.domain.reports.status_wording import context_of, describe_result
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import BuildResult, StartedKind
from asyncbuild.domain.results.console_links import console_link
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.runtime.emit import emit

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

_STARTED: Final = "started"


class WantsStatuses(Protocol):
    """Tells which repositories want commit statuses."""

    def wanted(self, repository: Repository) -> CommitStatusSettings | None:
        """Return the settings for a repository's statuses; None if it wants none."""


class ReportSender:
    """Sends reports to their queue, each in the group of its repository, commit and context.

    Args:
        client: Client for SQS.
        url: URL of the queue.
        statuses: Tells which repositories want statuses.
    """

    def __init__(self, client: "SQSClient", url: str, statuses: WantsStatuses) -> None:
        self._client = client
        self._url = url
        self._statuses = statuses

    async def send_start(self, started: StartedBuild) -> None:
        """Report that a build was started. A failure is told, and delays nothing.

        Args:
            started: The build.
        """
        wanted = self._statuses.wanted(started.repository)
        if wanted is None:
            return
        context = _context(wanted, started)
        link = console_link(started.of, started.arn)
        status = CommitStatus(StatusState.PENDING, context, _STARTED, link)
        try:
            await self.send(_report(started, status, attempt=1))
        except StageError as error:
            emit(ReportNotSent(context=context, kind=error.kind, reason=str(error)))

    async def send_end(self, started: StartedBuild, result: BuildResult) -> None:
        """Report how a build ended; a state that is not an end reports nothing.

        Args:
            started: The build.
            result: Its newest attempt.

        Raises:
            StageError: The queue refused, or cannot be reached.
        """
        wanted = self._statuses.wanted(started.repository)
        if wanted is None or not result.status.is_end:
            return
        status = CommitStatus(
            STATE_OF[result.status],
            _context(wanted, started),
            describe_result(result, with_reason=wanted.reasons),
            console_link(started.of, started.arn) if result.attempt == 1 else result.log_link,
        )
        await self.send(_report(started, status, attempt=result.attempt))

    async def send(self, report: Report) -> None:
        """Send a report.

        Raises:
            StageError: The queue refused, or cannot be reached.
        """
        doing = f"report the status of commit {report.commit[:12]} to queue {self._url}"
        with errors_of(doing):
            await self._client.send_message(
                QueueUrl=self._url,
                MessageBody=dump_report(report).decode(),
                MessageGroupId=report.group,
                MessageDeduplicationId=report.deduplication_id,
            )


def _report(started: StartedBuild, status: CommitStatus, *, attempt: int) -> Report:
    order = ReportOrder(started.pushed_at, started.event_id, attempt)
    return Report(started.repository, started.ref, started.commit, status, order)


def _context(wanted: CommitStatusSettings, started: StartedBuild) -> str:
    is_execution = started.of.kind is StartedKind.EXECUTION
    return context_of(
        wanted.context,
        {
            "project": started.of.name,
            "pipeline": started.of.name if is_execution else "",
            "rule": started.rule,
            "branch": started.ref.split("/", 2)[2],
            "repository": started.repository.name,
        },
    )


def age_seconds(sent: datetime | None, now: datetime) -> float:
    """Return how old a message is; 0 for one without a time."""
    return 0.0 if sent is None else round(max(0.0, (now - sent).total_seconds()), 3)
