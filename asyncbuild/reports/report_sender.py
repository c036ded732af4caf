"""Sender of reports to their queue: one for each start, each skip and each end of a build."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from asyncbuild.aws.classify import sqs_errors as errors_of
from asyncbuild.config.hosts import CommitStatusSettings
from asyncbuild.domain.errors import StageError
from asyncbuild.domain.events.report_events import ReportNotSent
from asyncbuild.domain.model import Push
from asyncbuild.domain.reports.commit_status import STATE_OF, CommitStatus, StatusState
from asyncbuild.domain.reports.report import SKIPPED, Report, ReportOrder, dump_report
from asyncbuild.domain.reports.skipped_target import SkippedTarget
from asyncbuild.domain.reports.status_wording import context_of, describe_result, describe_skip
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import BuildResult, StartedKind
from asyncbuild.domain.results.console_links import console_link, result_link
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
        await self._try_to_send(_report(started, status, attempt=1))

    async def send_skips(self, push: Push, skipped: Sequence[SkippedTarget]) -> None:
        """Report what a push left out as passed. A failure is told, and delays nothing.

        Args:
            push: The push.
            skipped: What the `changes` of rules left out.
        """
        wanted = self._statuses.wanted(push.repository)
        if wanted is None or wanted.skipped == "none":
            return
        order = ReportOrder(push.time, push.id, SKIPPED)
        for each in skipped:
            fields = _fields(
                push.repository, push.ref, each.rule, each.project or "", each.pipeline or ""
            )
            status = CommitStatus(
                StatusState.SUCCESS,
                context_of(wanted.context, fields),
                describe_skip(each.why),
            )
            await self._try_to_send(Report(push.repository, push.ref, push.commit, status, order))

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
            result_link(started.of, started.arn, result),
        )
        await self.send(_report(started, status, attempt=result.attempt))

    async def _try_to_send(self, report: Report) -> None:
        try:
            await self.send(report)
        except StageError as error:
            context = report.status.context
            emit(ReportNotSent(context=context, kind=error.kind, reason=str(error)))

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
    name = started.of.name
    pipeline = name if started.of.kind is StartedKind.EXECUTION else ""
    fields = _fields(started.repository, started.ref, started.rule, name, pipeline)
    return context_of(wanted.context, fields)


def _fields(
    repository: Repository, ref: str, rule: str, project: str, pipeline: str
) -> dict[str, str]:
    """Return the fields of a context's template; `{project}` is a pipeline's name, too."""
    return {
        "project": project or pipeline,
        "pipeline": pipeline,
        "rule": rule,
        "branch": ref.split("/", 2)[2],
        "repository": repository.name,
    }


def age_seconds(sent: datetime | None, now: datetime) -> float:
    """Return how old a message is; 0 for one without a time."""
    return 0.0 if sent is None else round(max(0.0, (now - sent).total_seconds()), 3)
