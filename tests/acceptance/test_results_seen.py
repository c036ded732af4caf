"""Results of builds, as a service with a queue of results shows them from outside."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import anyio
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.collector import open_collector
from support.result_events import build_event
from support.service import Service, environment, make_pushes, open_service
from support.wait import PATIENCE_SECONDS

from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.domain.model import root_span_id, trace_id
from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.storage.s3 import Store

pytestmark = pytest.mark.timeout(400)


async def test_results_of_this_task_and_of_another_are_shown() -> None:
    """The first build's end comes as an event; that of the second, another task records.

    Both are on the page; metrics and trace have the first, which this task recorded.
    """
    async with open_stack(["repository-000"]) as stack, open_collector() as (collector, received):
        url = (await stack.sqs.create_queue(QueueName="results"))["QueueUrl"]
        ((first, second),) = await make_pushes(stack, repositories=1, pushes=2)
        variables = environment(stack, status={"traces": True}, results={"url": url})
        variables |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        stack.standin.script = Script(queued_seconds=0, build_seconds=0)
        async with open_service(variables) as service:
            address = str((await service.wait_logged("status.listening"))["address"])
            await stack.send(first)
            build_id = str((await service.wait_logged("push.built"))["build_id"])
            body = orjson.dumps(build_event(build_id, "SUCCEEDED")).decode()
            await stack.sqs.send_message(QueueUrl=url, MessageBody=body)
            recorded = await service.wait_logged("result.recorded")
            assert (recorded["build_id"], recorded["event_id"]) == (build_id, first.id)

            await stack.send(second)
            await _record_elsewhere(stack, await _build_of(service, second.id))
            status = await _wait_ends(address, 2)
            metrics = await _counted(address)
            page = (await _get(address)).decode()
            service.terminate()
            assert await service.wait() == 0

    rows = {row["event_id"]: row["result"] for row in status["recent"]}
    assert {each: row["status"] for each, row in rows.items()} == {
        first.id: "succeeded",
        second.id: "timed-out",
    }
    assert status["totals"]["results"] == {"succeeded": 1}
    assert metrics == {("event", "succeeded"): 1}
    assert ">passed</span>" in page
    assert ">timed out</span>" in page
    spans = {
        span.name: span
        for resource in received
        for scope in resource.scope_spans
        for span in scope.spans
        if span.name.startswith("BUILD ")
    }
    (span,) = spans.values()
    assert span.name == "BUILD repository-000"
    assert span.trace_id.hex() == trace_id(first.id)
    assert span.parent_span_id.hex() == root_span_id(first.id)


async def _build_of(service: Service, event_id: str) -> str:
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            for line in service.log:
                if line.get("event") == "push.built" and line["event_id"] == event_id:
                    return str(line["build_id"])
            await anyio.sleep(0.05)


async def _record_elsewhere(stack: Stack, build_id: str) -> None:
    """Record the end of a build as another task does that has received its event."""
    storage = stack.settings.storage
    ledger = ResultLedger(Store(stack.s3, storage), prefix=storage.ledger_prefix)
    project, _, number = build_id.partition(":")
    of = StartedId(StartedKind.BUILD, project, number)
    started = await ledger.find_started(of)
    assert started is not None
    now = datetime.now(UTC)
    result = BuildResult(of, BuildStatus.TIMED_OUT, now, phase="BUILD")
    assert await ledger.record_result(started, replace(result, started_at=now, ended_at=now))


async def _get(address: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        assert answer.status == 200
        return await answer.read()


async def _wait_ends(address: str, number: int) -> Mapping[str, Any]:
    """Return the status document once so many rows have a result."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            status = orjson.loads(await _get(f"{address}status.json"))
            if sum(row["result"] is not None for row in status["recent"]) == number:
                return dict(status)
            await anyio.sleep(0.2)


async def _counted(address: str) -> Mapping[tuple[str, str], float]:
    """Return the results that Prometheus would count, by what told them and by status."""
    text = (await _get(f"{address}metrics")).decode()
    return {
        (sample.labels["by"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "asyncbuild_results_total" and sample.value
    }
