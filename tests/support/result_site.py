"""Queue of results, bucket, CodeBuild and CodePipeline on loopback, and consumers on them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from support.codebuild import make_push, open_codebuild_client
from support.codepipeline import open_codepipeline_client
from support.codepipeline_server import CodePipelineStandin, open_codepipeline_standin, pipeline_of
from support.result_events import build_event
from support.servers import REGION
from support.wait import PATIENCE_SECONDS

from asyncbuild.aws.session import Aws
from asyncbuild.builds.ledger import Ledger
from asyncbuild.builds.ledger_keys import LedgerKeys
from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.builds.result_records import started_by
from asyncbuild.builds.superseding.running_ledger import RunningLedger
from asyncbuild.config import (
    AwsSettings,
    BuildSettings,
    PipelineSettings,
    QueueSettings,
    ResultSettings,
    RuleSettings,
    Settings,
    StorageSettings,
)
from asyncbuild.domain.model import Action, Build, Execution, Outcome, Target, Verdict
from asyncbuild.domain.results.build_result import BuildResult
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin
from asyncbuild.results.open_results import EndFollowers, open_results
from asyncbuild.results.result_consumers import ResultConsumers
from asyncbuild.results.superseding.open_cancelling import open_cancelling
from asyncbuild.runtime.clock import utc_now
from asyncbuild.storage.s3 import Store

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient
    from types_aiobotocore_codepipeline import CodePipelineClient
    from types_aiobotocore_sqs import SQSClient

PREFIX = "ledger/"
AT_ONCE = Script(queued_seconds=0, build_seconds=0)


@dataclass
class ResultSite:
    """Servers for results, and what a test does to them."""

    settings: Settings
    builds: CodeBuildStandin
    pipelines: CodePipelineStandin
    store: Store
    ledger: ResultLedger
    sqs: "SQSClient"
    codebuild: "CodeBuildClient"
    codepipeline: "CodePipelineClient"
    url: str
    dead_letter_url: str
    numbers: int = 0
    cancels: bool = False  # whether newer pushes stop the builds of older ones

    async def start_build(
        self,
        project: str = "web",
        *,
        script: Script = AT_ONCE,
        indexed: bool = True,
        rule: str = "all",
    ) -> StartedBuild:
        """Start a build as the service does; without the index as an older version does."""
        self.builds.script = script
        answer = await self.codebuild.start_build(projectName=project)
        build = answer["build"]
        target = Target(Action.BUILD, "web.zip", project, rule=rule, cancel_superseded=self.cancels)
        made = Build(build["id"], build["arn"], build["buildNumber"])
        return await self._index(Outcome(Verdict.BUILT, "", target, build=made), indexed=indexed)

    async def start_execution(self, pipeline: str, *, seconds: float) -> StartedBuild:
        """Start an execution as the service does, which ends after `seconds`."""
        self.pipelines.run_seconds = self.pipelines.source_seconds = seconds
        answer = await self.codepipeline.start_pipeline_execution(name=pipeline)
        target = Target(
            Action.PIPELINE,
            "web.zip",
            pipeline=pipeline,
            rule="all",
            cancel_superseded=self.cancels,
        )
        execution = Execution(answer["pipelineExecutionId"], pipeline, f"arn:{pipeline}")
        outcome = Outcome(Verdict.HANDED_OVER, "", target, execution=execution)
        return await self._index(outcome, indexed=True)

    async def index_again(self, started: StartedBuild, build: str) -> None:
        """Write a build into the index that was started without."""
        target = Target(Action.BUILD, "web.zip", started.of.name, rule="all")
        outcome = Outcome(Verdict.BUILT, "", target, build=Build(build))
        await self.ledger.record_start(make_push(self.numbers), outcome)

    async def _index(self, outcome: Outcome, *, indexed: bool) -> StartedBuild:
        self.numbers += 1
        push = make_push(self.numbers)
        if indexed:
            await self.ledger.record_start(push, outcome)
        keys = LedgerKeys(PREFIX)
        started = started_by(push, outcome, keys=keys, started_at=utc_now())
        assert started is not None
        if started.is_supersedable:
            head = (await Ledger(self.store, prefix=PREFIX).set_head(push)).newest
            assert head is not None
            await RunningLedger(self.store, prefix=PREFIX).add(started, push, head)
        return started

    async def send(self, message: Any) -> None:  # noqa: ANN401 - text, or any JSON
        """Send a message to the queue of results."""
        body = message if isinstance(message, str) else orjson.dumps(message).decode()
        await self.sqs.send_message(QueueUrl=self.url, MessageBody=body)

    async def tell_end(self, started: StartedBuild, status: str = "SUCCEEDED") -> None:
        """Send the event of a build's end."""
        await self.send(build_event(started.of.id, status))

    async def wait_result(self, started: StartedBuild) -> BuildResult:
        """Return the result on record, as soon as it is an end."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                found = await self.ledger.find_result(started)
                if found is not None and found.status.is_end:
                    return found
                await anyio.sleep(0.05)

    async def wait_empty(self) -> None:
        """Wait until the queue has no message, visible or not."""
        await self.wait_count(0)

    async def wait_count(self, number: int) -> None:
        """Wait until the queue has so many messages, visible or not."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while await self.count(self.url) != number:  # noqa: ASYNC110 - SQS raises no event
                await anyio.sleep(0.05)

    async def count(self, url: str) -> int:
        """Return how many messages a queue has, visible or not."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = await self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    async def dead_letters(self) -> list[Any]:
        """Return the messages of the dead-letter queue."""
        answer = await self.sqs.receive_message(
            QueueUrl=self.dead_letter_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            VisibilityTimeout=0,
        )
        return list(answer.get("Messages", []))

    @asynccontextmanager
    async def open_consumers(self, *, later: float = 0) -> AsyncIterator[ResultConsumers]:
        """Open consumers as the service does, and run them while inside.

        Args:
            later: Seconds by which their clock is ahead.
        """
        ahead = timedelta(seconds=later)
        settings = self.settings
        if self.cancels:
            rule = RuleSettings(action=Action.BUILD, project=("web",), cancel_superseded=True)
            settings = settings.model_copy(update={"rules": (rule,)})
        aws = Aws(settings)
        async with (
            open_cancelling(settings, aws) as cancelling,
            open_results(
                settings,
                aws,
                EndFollowers(cancelling=cancelling),
                clock=lambda: utc_now() + ahead,
            ) as opened,
        ):
            assert opened is not None
            consumers = opened.consumers
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(consumers.run)
                if cancelling is not None:
                    tasks.start_soon(cancelling.worker.run)
                yield consumers
                if not consumers.statistics().draining:
                    consumers.stop()
                if cancelling is not None:
                    cancelling.worker.drain()


@asynccontextmanager
async def open_result_site(server: LocalServer) -> AsyncIterator[ResultSite]:
    """Open queue, dead-letter queue and bucket on `server`, and both stand-ins."""
    name = f"results-{uuid.uuid4().hex[:12]}"
    aws = AwsSettings(region=REGION, endpoint_url=server.endpoint_url, max_tries=1)
    bare = Settings(aws=aws)
    async with (
        open_codebuild_standin(["web", "till"]) as builds,
        open_codepipeline_standin() as pipelines,
        open_codebuild_client(builds.endpoint_url) as codebuild,
        open_codepipeline_client(pipelines.endpoint_url) as codepipeline,
        Aws(bare).open_sqs(pool=10) as sqs,
        Aws(bare).open_s3(pool=30) as s3,
    ):
        pipelines.put_pipeline(pipeline_of("deploy"))
        dead = (await sqs.create_queue(QueueName=f"{name}-dead"))["QueueUrl"]
        policy = {
            "deadLetterTargetArn": f"arn:aws:sqs:{REGION}:000000000000:{name}-dead",
            "maxReceiveCount": 100,
        }
        attributes: Any = {"RedrivePolicy": orjson.dumps(policy).decode()}
        url = (await sqs.create_queue(QueueName=name, Attributes=attributes))["QueueUrl"]
        await s3.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        storage = StorageSettings(bucket=name, ledger_prefix=PREFIX, addressing_style="path")
        settings = Settings(
            aws=aws,
            queue=QueueSettings(wait_seconds=1),
            results=ResultSettings(url=url),
            storage=storage,
            builds=BuildSettings(endpoint_url=builds.endpoint_url),
            pipelines=PipelineSettings(endpoint_url=pipelines.endpoint_url),
        )
        store = Store(s3, storage)
        yield ResultSite(
            settings=settings,
            builds=builds,
            pipelines=pipelines,
            store=store,
            ledger=ResultLedger(store, prefix=PREFIX),
            sqs=sqs,
            codebuild=codebuild,
            codepipeline=codepipeline,
            url=url,
            dead_letter_url=dead,
        )
