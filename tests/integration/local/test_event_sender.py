"""Events of the stand-in's builds in a real queue: all of them, or with faults by seed."""

import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest
from support.codebuild import open_codebuild_client
from support.codepipeline_server import (
    open_codepipeline_standin,
    open_execution_events,
    pipeline_of,
)
from support.pipeline_course import PipelineEnd
from support.wait import PATIENCE_SECONDS, wait_until

from asyncbuild import config
from asyncbuild.aws.session import Aws
from asyncbuild.local.servers.build_script import Script, SeededScripts
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin
from asyncbuild.local.servers.event_sender import (
    EventFate,
    EventFaults,
    EventSender,
    open_event_sender,
)

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

AT_ONCE = Script(queued_seconds=0, build_seconds=0)


@pytest.fixture
async def sqs(ministack: LocalServer) -> AsyncIterator["SQSClient"]:
    """Open a client of the queue's service."""
    overrides = {"aws": {"region": "eu-west-1", "endpoint_url": ministack.endpoint_url}}
    async with Aws(config.load(None, overrides)).open_sqs(pool=4) as client:
        yield client


@pytest.fixture
async def queue(sqs: "SQSClient") -> str:
    """Return the URL of an empty standard queue."""
    return (await sqs.create_queue(QueueName=f"results-{uuid.uuid4()}"))["QueueUrl"]


async def received(sqs: "SQSClient", queue: str) -> list[dict[str, Any]]:
    """Return the events in the queue, which is empty afterwards."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0
        )
        messages = answer.get("Messages", [])
        if not messages:
            return found
        for message in messages:
            found.append(orjson.loads(message["Body"]))
            await sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def status_of(event: dict[str, Any]) -> str:
    """Return the build's status in the event."""
    return str(event["detail"]["build-status"])


def build_of(event: dict[str, Any]) -> str:
    """Return the build's id."""
    return str(event["detail"]["build-id"]).partition(":build/")[2]


@asynccontextmanager
async def sending(
    sqs: "SQSClient",
    queue: str,
    **how: Any,  # noqa: ANN401 - arguments of open_event_sender
) -> AsyncIterator[tuple[CodeBuildStandin, EventSender]]:
    """Open a stand-in whose builds end at once, and its sender."""
    async with (
        open_codebuild_standin(["shop"]) as standin,
        open_event_sender(standin, sqs, queue, **how) as sender,
    ):
        standin.script = AT_ONCE
        yield standin, sender


async def start(standin: CodeBuildStandin, count: int, **more: object) -> list[str]:
    """Start builds with different sources, and return their ids."""
    ids = []
    for number in range(count):
        request = {
            "projectName": "shop",
            "sourceTypeOverride": "S3",
            "sourceLocationOverride": f"archives/shop/{number}.zip",
            **more,
        }
        ids.append((await standin.answer("StartBuild", request))["build"]["id"])
    return ids


async def test_each_end_is_told_once(sqs: "SQSClient", queue: str) -> None:
    """One event for each build, with its status."""
    async with sending(sqs, queue) as (standin, sender):
        standin.script = SeededScripts(
            failed=0.4, queued_seconds=(0, 0), provisioning_seconds=(0, 0), build_seconds=(0, 0.2)
        )
        ids = await start(standin, 20)
        await wait_until(lambda: sender.is_idle)
        events = await received(sqs, queue)
        truth = {id_: standin.build(id_).script.status for id_ in ids}
        assert {build_of(event): status_of(event) for event in events} == truth
        assert len(events) == 20
        assert set(truth.values()) == {"SUCCEEDED", "FAILED"}
        assert set(sender.sent_at) == set(ids)


async def test_beginnings_are_told_if_wanted(sqs: "SQSClient", queue: str) -> None:
    """IN_PROGRESS with the first phase, then the end."""
    async with sending(sqs, queue, begins=True) as (standin, sender):
        standin.script = Script(queued_seconds=0.1, build_seconds=0.1)
        (id_,) = await start(standin, 1)
        await wait_until(lambda: sender.is_idle)
        events = await received(sqs, queue)
    assert [(build_of(each), status_of(each)) for each in events] == [
        (id_, "IN_PROGRESS"), (id_, "SUCCEEDED"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("faults", "sent", "delivery"),
    [
        (EventFaults(lost=1.0), 0, EventFate.LOST),
        (EventFaults(doubled=1.0, late_seconds=0.2), 20, EventFate.DOUBLED),
        (EventFaults(late=1.0, late_seconds=0.2), 10, EventFate.LATE),
        (EventFaults(disordered=1.0, late_seconds=0.2), 10, EventFate.DISORDERED),
    ],
    ids=lambda value: str(value) if isinstance(value, EventFate) else "",
)
async def test_faults_have_their_share(
    sqs: "SQSClient", queue: str, faults: EventFaults, sent: int, delivery: EventFate
) -> None:
    """All are lost, all come twice, all come late."""
    async with sending(sqs, queue, faults=faults) as (standin, sender):
        ids = await start(standin, 10)
        await wait_until(lambda: sender.is_idle)
        assert sender.deliveries == {delivery: 10}
        counts = Counter(build_of(event) for event in await received(sqs, queue))
    assert counts == ({} if not sent else dict.fromkeys(ids, sent // 10))


async def test_a_disordered_event_comes_after_the_next(sqs: "SQSClient", queue: str) -> None:
    """The order of sending differs from that of the ends."""
    faults = EventFaults(seed=3, disordered=0.4, late_seconds=20)
    async with sending(sqs, queue, faults=faults) as (standin, sender):
        ids = await start(standin, 20)
        await wait_until(lambda: len(sender.sent_at) >= 19)
        order = list(sender.sent_at)
    assert order != ids[: len(order)]
    assert abs(max(order.index(id_) - ids.index(id_) for id_ in order)) < 10


async def test_a_stopped_build_is_told_when_it_stops(sqs: "SQSClient", queue: str) -> None:
    """Not when its script would have ended."""
    async with sending(sqs, queue) as (standin, sender):
        standin.script = Script(build_seconds=600)
        (id_,) = await start(standin, 1)
        await standin.answer("StopBuild", {"id": id_})
        await wait_until(lambda: id_ in sender.sent_at)
        assert [status_of(event) for event in await received(sqs, queue)] == ["STOPPED"]


async def test_attempts_and_foreign_builds_are_told_too(sqs: "SQSClient", queue: str) -> None:
    """CodeBuild tells of every build of the account."""
    async with sending(sqs, queue) as (standin, sender):
        standin.script, standin.foreign_share = Script(0, 0, "FAILED"), 1.0
        (id_,) = await start(standin, 1, autoRetryLimitOverride=1)
        await wait_until(lambda: len(sender.sent_at) == 4 and sender.is_idle)
        builds = {build_of(event) for event in await received(sqs, queue)}
        ours, theirs = standin.build(id_), standin.foreign[0]
        assert builds == {each.id for one in (ours, theirs) for each in (one, one.newest())}


async def test_ends_without_a_documented_event_can_be_silent(sqs: "SQSClient", queue: str) -> None:
    """FAULT and TIMED_OUT are told only if they are wanted."""
    for only_documented, told in ((True, []), (False, ["TIMED_OUT"])):
        async with sending(sqs, queue, only_documented=only_documented) as (standin, sender):
            standin.script = Script(0, 0, "TIMED_OUT")
            await start(standin, 1)
            await wait_until(lambda: sender.is_idle)
            assert [status_of(event) for event in await received(sqs, queue)] == told


async def test_a_process_of_its_own_sends_events(
    ministack: LocalServer, sqs: "SQSClient", queue: str
) -> None:
    """The program's options name the queue and the shares."""
    options = ["--project", "shop", "--build-seconds", "0.1", "--failed", "1.0", "--events-queue"]
    options += [queue, "--events-endpoint", ministack.endpoint_url]
    command = [sys.executable, "-m", "asyncbuild.local.servers.codebuild_server", *options]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdout is not None
        endpoint_url = (await process.stdout.receive()).decode().strip()
        async with open_codebuild_client(endpoint_url) as client:
            await client.start_build(projectName="shop")
        answer: Any = {}
        with anyio.fail_after(PATIENCE_SECONDS):
            while not answer.get("Messages"):
                answer = await sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1)
        process.terminate()
        assert await process.wait() == 0
    assert [status_of(orjson.loads(each["Body"])) for each in answer["Messages"]] == ["FAILED"]


async def test_executions_are_told_too(sqs: "SQSClient", queue: str) -> None:
    """With the documented members (user guide, "Monitoring CodePipeline events")."""
    async with (
        open_codepipeline_standin() as standin,
        open_execution_events(standin, sqs, queue) as sender,
    ):
        standin.put_pipeline(pipeline_of("deploy"))
        standin.run_seconds, standin.end = 0.1, PipelineEnd("Superseded")
        started = await standin.answer("StartPipelineExecution", {"name": "deploy"})
        await wait_until(lambda: sender.is_idle)
        (event,) = await received(sqs, queue)
    assert event["detail-type"] == "CodePipeline Pipeline Execution State Change"
    assert event["resources"] == ["arn:aws:codepipeline:eu-west-1:123456789012:deploy"]
    detail = event["detail"]
    assert detail["execution-id"] == started["pipelineExecutionId"]
    assert (detail["pipeline"], detail["state"]) == ("deploy", "SUPERSEDED")
    assert set(detail) == {
        "pipeline", "execution-id", "start-time", "execution-trigger",
        "pipeline-execution-attempt", "state", "version",
    }  # fmt: skip


async def test_a_stopped_execution_is_told_twice(sqs: "SQSClient", queue: str) -> None:
    """STOPPING at once, STOPPED when its action has ended, before it would have passed."""
    ahead = [0.0]
    async with (
        open_codepipeline_standin(clock=lambda: time.time() + ahead[0]) as standin,
        open_execution_events(standin, sqs, queue) as sender,
    ):
        standin.put_pipeline(pipeline_of("deploy"))
        standin.run_seconds = 600
        begun = standin.clock()
        started = await standin.answer("StartPipelineExecution", {"name": "deploy"})
        id_ = started["pipelineExecutionId"]
        stop = {"pipelineName": "deploy", "pipelineExecutionId": id_}
        await standin.answer("StopPipelineExecution", stop)
        await wait_until(lambda: f"-{id_}" in sender.sent_at)
        (stopping,) = await received(sqs, queue)
        ahead[0] = 301
        sender.schedule(standin.clock(), "wakes the sender", lambda: None)
        await wait_until(lambda: id_ in sender.sent_at)
        (stopped,) = await received(sqs, queue)
    assert [each["detail"]["state"] for each in (stopping, stopped)] == ["STOPPING", "STOPPED"]
    assert {each["detail"]["execution-id"] for each in (stopping, stopped)} == {id_}
    assert stopping["id"] != stopped["id"]
    assert stopped["detail"]["start-time"] < datetime.fromtimestamp(begun + 599, UTC).isoformat()
