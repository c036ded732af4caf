"""Queue of reports, bucket and forges on loopback, and consumers on them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from support.servers import REGION
from support.wait import PATIENCE_SECONDS

from asyncbuild.aws.session import Aws
from asyncbuild.builds.report_ledger import ReportLedger
from asyncbuild.config import AwsSettings, QueueSettings, ReportSettings, Settings, StorageSettings
from asyncbuild.config.hosts import CommitStatusSettings, HostSettings
from asyncbuild.domain.model import Change, Push
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus, StartedId, StartedKind
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.local.forge.forge_server import open_forge
from asyncbuild.local.forge.forge_standin import CommitContext, ForgeStandin, KeptStatus
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.reports.open_reports import OpenedReports, open_reports
from asyncbuild.reports.report_consumers import ReportConsumers
from asyncbuild.reports.report_sender import ReportSender
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

PREFIX = "ledger/"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
COMMIT = "c" * 40


def started_build(
    number: int = 1, *, owner: str = "acme", host: str = "git.example.org"
) -> StartedBuild:
    """Return the build number `number` of one commit, started a minute after the one before."""
    of = StartedId(StartedKind.BUILD, "shop", f"uuid-{number}")
    repository = Repository.of_host(host, owner, "shop")
    return StartedBuild(
        of=of,
        record=f"push/{repository.path}/x/build-shop.json",
        event_id=f"event-{number}",
        repository=repository,
        ref="refs/heads/main",
        commit=COMMIT,
        rule="all",
        pushed_at=NOON + timedelta(minutes=number),
        started_at=NOON + timedelta(minutes=number),
        arn=f"arn:aws:codebuild:{REGION}:123456789012:build/{of.id}",
    )


def skipping_push(number: int = 1) -> Push:
    """Return the push of the build number `number`."""
    started = started_build(number)
    return Push(
        started.event_id,
        started.repository,
        started.ref,
        started.commit,
        Change.UPDATED,
        started.pushed_at,
    )


def ended(
    started: StartedBuild, status: BuildStatus = BuildStatus.SUCCEEDED, *, attempt: int = 1
) -> BuildResult:
    """Return the end of a build, after a minute."""
    begin = started.started_at
    return BuildResult(
        started.of,
        status,
        observed_at=begin + timedelta(minutes=1),
        attempt=attempt,
        attempt_id=started.of.id if attempt == 1 else f"shop:attempt-{attempt}",
        phase="" if status is BuildStatus.SUCCEEDED else "BUILD",
        started_at=begin,
        ended_at=begin + timedelta(minutes=1),
    )


@dataclass
class ReportSite:
    """Servers for reports, and what a test does to them."""

    settings: Settings
    forge: ForgeStandin
    ledger: ReportLedger
    sqs: "SQSClient"
    url: str
    dead_letter_url: str
    contexts: dict[str, str] = field(default_factory=dict)

    def status(self, owner: str = "acme") -> KeptStatus | None:
        """Return what the forge shows for the commit."""
        at = CommitContext(f"{owner}/shop", COMMIT, "asyncbuild/shop")
        return self.forge.statuses.get(at)

    @property
    def posted(self) -> list[str]:
        """States that the forge took, oldest first."""
        return [str(status.state) for _, status in self.forge.history]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OpenedReports]:
        """Open reports as the service does, without consuming."""
        async with open_reports(self.settings, Aws(self.settings)) as opened:
            assert opened is not None
            yield opened

    @asynccontextmanager
    async def open_consumers(self) -> AsyncIterator[ReportConsumers]:
        """Open consumers as the service does, and run them while inside."""
        async with self.open() as opened, anyio.create_task_group() as tasks:
            tasks.start_soon(opened.consumers.polling.run)
            yield opened.consumers
            opened.consumers.polling.stop()

    @asynccontextmanager
    async def open_sender(self) -> AsyncIterator[ReportSender]:
        """Open what sends reports."""
        async with self.open() as opened:
            yield opened.sender

    async def drain(self) -> None:
        """Consume until the queue is empty for one poll."""
        async with self.open() as opened:
            opened.consumers.polling.drain()
            with anyio.fail_after(PATIENCE_SECONDS):
                await opened.consumers.polling.run()

    async def count(self) -> int:
        """Return how many messages the queue has, visible or not."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = await self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    async def dead_letters(self) -> list[Any]:
        """Return the messages of the dead-letter queue."""
        answer = await self.sqs.receive_message(
            QueueUrl=self.dead_letter_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))


@asynccontextmanager
async def open_report_site(
    server: LocalServer, *, status: CommitStatusSettings | None = None
) -> AsyncIterator[ReportSite]:
    """Open queue, dead-letter queue and bucket on `server`, and a forge.

    The environment must have `STATUS_TOKEN`.
    """
    name = f"reports-{uuid.uuid4().hex[:12]}"
    aws = AwsSettings(region=REGION, endpoint_url=server.endpoint_url, max_tries=1)
    bare = Settings(aws=aws)
    async with (
        open_forge(ForgeStandin()) as forge,
        Aws(bare).open_sqs(pool=10) as sqs,
        Aws(bare).open_s3(pool=30) as s3,
    ):
        fifo: Any = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        dead_name = f"{name}-dead.fifo"
        dead = (await sqs.create_queue(QueueName=dead_name, Attributes=fifo))["QueueUrl"]
        policy = {
            "deadLetterTargetArn": f"arn:aws:sqs:{REGION}:000000000000:{dead_name}",
            "maxReceiveCount": 100,
        }
        attributes: Any = {**fifo, "RedrivePolicy": orjson.dumps(policy).decode()}
        made = await sqs.create_queue(QueueName=f"{name}.fifo", Attributes=attributes)
        await s3.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        storage = StorageSettings(bucket=name, ledger_prefix=PREFIX, addressing_style="path")
        wanted = status or CommitStatusSettings(token="env:STATUS_TOKEN")
        wanted = wanted.model_copy(update={"api_url": f"{forge.endpoint_url}/github"})
        host = HostSettings(
            host="git.example.org", kind="github", signature="off", commit_status=wanted
        )
        settings = Settings(
            aws=aws,
            queue=QueueSettings(wait_seconds=1),
            reports=ReportSettings(url=made["QueueUrl"]),
            storage=storage,
            hosts=(host,),
        )
        yield ReportSite(
            settings=settings,
            forge=forge,
            ledger=ReportLedger(Store(s3, storage), prefix=PREFIX),
            sqs=sqs,
            url=made["QueueUrl"],
            dead_letter_url=dead,
        )
