"""Results beside pushes in a service that runs until both queues are empty."""

from collections.abc import AsyncIterator

import orjson
import pytest
from support.result_events import build_event
from support.service import environment, make_pushes, open_service

from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.results.facts.attempt_facts import read_build_id
from asyncbuild.storage.s3 import Store

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Servers, queue, bucket and a project of this test's own, whose builds end at once."""
    async with open_stack(["repository-000"]) as stack:
        stack.standin.script = Script(queued_seconds=0, build_seconds=0)
        yield stack


async def test_a_drain_ends_when_both_queues_are_empty(stack: Stack) -> None:
    """The first one starts builds, which it marks; the second records and tells how they ended."""
    url = (await stack.sqs.create_queue(QueueName="results"))["QueueUrl"]
    variables = environment(
        stack, results={"url": url}, queue={"wait_seconds": 1}, reports={"event_bus": "default"}
    )
    ((first, second),) = await make_pushes(stack, repositories=1, pushes=2)
    for push in (first, second):
        await stack.send(push)
    async with open_service(variables, "drain") as service:
        assert await service.wait() == 0
    storage = stack.settings.storage
    ledger = ResultLedger(Store(stack.s3, storage), prefix=storage.ledger_prefix)
    marks = {mark.of.id for mark in await ledger.find_unfinished()}
    assert marks == {build.build for build in stack.standin.started}
    assert len(marks) == 2

    for build in marks:
        body = orjson.dumps(build_event(build, "SUCCEEDED")).decode()
        await stack.sqs.send_message(QueueUrl=url, MessageBody=body)
    async with open_service(variables, "drain") as service:
        assert await service.wait() == 0
        told = [line for line in service.log if line["event"] == "result.recorded"]
        sent = [line for line in service.log if line["event"] == "outcome.sent"]
    assert {line["event_id"] for line in told} == {first.id, second.id}
    assert {(line["event_id"], line["detail_type"]) for line in sent} == {
        (push.id, "BuildPassed") for push in (first, second)
    }
    assert await ledger.find_unfinished() == []
    for build in marks:
        of = read_build_id(build)
        assert of is not None
        result = await ledger.find_result_of(of)
        assert result is not None
        assert result.status is BuildStatus.SUCCEEDED


async def test_a_missing_queue_of_results_stops_no_push(stack: Stack) -> None:
    """The fault is told once; pushes are built, and the drain ends all the same."""
    missing = stack.settings.queue.url.rpartition("/")[0] + "/no-such-queue"
    variables = environment(stack, results={"url": missing}, queue={"wait_seconds": 1})
    ((push,),) = await make_pushes(stack, repositories=1, pushes=1)
    await stack.send(push)
    async with open_service(variables, "drain") as service:
        assert await service.wait() == 0
        told = [line for line in service.log if line["event"] == "result.receive-failed"]
        built = [line for line in service.log if line["event"] == "push.built"]
    assert len(built) == 1
    assert len(told) == 1
    assert "no-such-queue" in told[0]["reason"]
