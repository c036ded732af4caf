"""Cloud of the demo, on this machine alone: servers, queue, dead-letter queue, bucket, projects."""

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from asyncbuild import config
from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws
from asyncbuild.config.sections import MIB
from asyncbuild.config.settings import Settings
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY, open_ministack
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin
from asyncbuild.local.servers.resources import REMEDY_TEMPORARY, require_room, telling_of_room
from asyncbuild.local.servers.served import REGION
from asyncbuild.local.verify import Pushed
from asyncbuild.local.workload import event_of
from asyncbuild.runtime.scratch import open_scratch

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

BUCKET = "asyncbuild-archives"
QUEUE = "asyncbuild-pushes.fifo"
DEAD_LETTERS = "asyncbuild-dead-letters.fifo"
RESULTS = "asyncbuild-results"
RESULT_DEAD_LETTERS = "asyncbuild-results-dead-letters"

_DEMO_BYTES = 128 * MIB  # the built-in repositories took 72 MiB, with their mirrors and archives
# A receive of ten messages counts for each of them, tried or not; leave room for that.
_MAX_RECEIVE_COUNT = 20
# A result is tried for ten minutes, hidden for up to one in between; then there is room for faults.
_MAX_RESULT_RECEIVE_COUNT = 100
_LEFT: tuple["QueueAttributeNameType", ...] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@dataclass(frozen=True, slots=True)
class Stack:
    """Servers that the service talks to, and clients to look at them from outside."""

    directory: Path
    settings: Settings
    standin: CodeBuildStandin
    journal: Path
    sqs: "SQSClient"
    s3: "S3Client"
    foreign: tuple[str, ...] = ()  # the caller's variables that are not valid here

    async def send(self, push: Pushed) -> None:
        """Put the event of `push` on the queue, as a rule with a group for each repository does."""
        with errors_of(f"send the event of {push}"):
            await self.sqs.send_message(
                QueueUrl=self.settings.queue.url,
                MessageBody=orjson.dumps(event_of(push)).decode(),
                MessageGroupId=push.group,
            )

    async def count_waiting(self) -> int:
        """Return the number of messages that are not settled yet, waiting or in flight."""
        with errors_of("count the messages in the queue"):
            answer = await self.sqs.get_queue_attributes(
                QueueUrl=self.settings.queue.url, AttributeNames=list(_LEFT)
            )
        return sum(int(answer["Attributes"][name]) for name in _LEFT)


@asynccontextmanager
async def open_stack(projects: Iterable[str]) -> AsyncIterator[Stack]:
    """Start everything in a temporary directory, and remove all of it in the end.

    Repositories belong below `directory/remotes`. Inside, the process's environment names no
    settings or credentials except the demo's own.

    Raises:
        ConfigError: The disk has too little room for temporary files.
        Fatal: A server cannot be installed or started.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        directory = stack.enter_context(open_scratch("asyncbuild-demo-"))
        require_room(directory, _DEMO_BYTES, "the demo needs", REMEDY_TEMPORARY)
        stack.enter_context(telling_of_room(directory))
        foreign = stack.enter_context(_without_caller_identity())
        journal = directory / "builds.journal"
        ministack = await enter(open_ministack(region=REGION))
        standin = await enter(open_codebuild_standin(projects, journal=journal))
        overrides = _overrides(directory, ministack.endpoint_url, standin.endpoint_url)
        aws = Aws(config.load(None, overrides))
        sqs = await enter(aws.open_sqs(pool=10))
        s3 = await enter(aws.open_s3(pool=10))
        overrides["queue"]["url"] = await _create_queues(sqs)
        overrides["results"] = await _create_result_queues(sqs)
        with errors_of(f"create bucket {BUCKET}"):
            where: Any = {"LocationConstraint": REGION}
            await s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where)
        settings = config.load(None, overrides)
        yield Stack(directory, settings, standin, journal, sqs, s3, foreign)


def _overrides(directory: Path, endpoint_url: str, builds_url: str) -> dict[str, Any]:
    return {
        "aws": {"region": REGION, "endpoint_url": endpoint_url},
        "queue": {"wait_seconds": 1},  # longest wait of a stop for the last long poll
        "git": {
            "remote": f"file://{directory}/remotes/{{repository}}",
            "cache_directory": str(directory / "cache"),
        },
        "storage": {"bucket": BUCKET, "addressing_style": "path"},
        "builds": {"endpoint_url": builds_url},
        "status": {"listen": "127.0.0.1:0"},
    }


async def _create_queues(sqs: "SQSClient") -> str:
    fifo: dict[QueueAttributeNameType, str] = {
        "FifoQueue": "true",
        "ContentBasedDeduplication": "true",
    }
    with errors_of(f"create queue {QUEUE}"):
        made = await sqs.create_queue(QueueName=DEAD_LETTERS, Attributes=fifo)
        fifo["RedrivePolicy"] = await redrive_policy(sqs, made["QueueUrl"], _MAX_RECEIVE_COUNT)
        queue = await sqs.create_queue(QueueName=QUEUE, Attributes=fifo)
    return queue["QueueUrl"]


async def _create_result_queues(sqs: "SQSClient") -> dict[str, Any]:
    """Create the queues of results, and return the settings that name them."""
    with errors_of(f"create queue {RESULTS}"):
        dead_letters = (await sqs.create_queue(QueueName=RESULT_DEAD_LETTERS))["QueueUrl"]
        policy = await redrive_policy(sqs, dead_letters, _MAX_RESULT_RECEIVE_COUNT)
        made = await sqs.create_queue(QueueName=RESULTS, Attributes={"RedrivePolicy": policy})
    return {"url": made["QueueUrl"], "dead_letter_url": dead_letters}


async def redrive_policy(sqs: "SQSClient", dead_letter_url: str, receives: int) -> str:
    """Return the attribute `RedrivePolicy` of a queue.

    Args:
        sqs: Client for SQS.
        dead_letter_url: URL of the queue for dead letters.
        receives: Number of receives before a message goes there.
    """
    answer = await sqs.get_queue_attributes(QueueUrl=dead_letter_url, AttributeNames=["QueueArn"])
    arn = answer["Attributes"]["QueueArn"]
    return orjson.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": receives}).decode()


@contextmanager
def _without_caller_identity() -> Iterator[tuple[str, ...]]:
    """Hide the caller's AWS identity and settings while inside; yield their names.

    So nothing of the demo can reach the caller's AWS account.
    """
    kept = dict(os.environ)
    foreign = tuple(name for name in kept if name.startswith(("AWS_", "ASYNCBUILD_")))
    for name in foreign:
        del os.environ[name]
    os.environ.update(
        AWS_ACCESS_KEY_ID=ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=SECRET_KEY,
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    try:
        yield foreign
    finally:
        os.environ.clear()
        os.environ.update(kept)
