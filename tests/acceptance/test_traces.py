"""Exported traces: OTLP over HTTP, to a collector of our own."""

import pytest
from support.collector import open_collector
from support.service import environment, make_pushes, open_service

from asyncbuild.domain.model import root_span_id, trace_id
from asyncbuild.local.servers import journal
from asyncbuild.local.stack import QUEUE, open_stack

pytestmark = pytest.mark.timeout(400)


async def test_a_push_is_one_trace_at_the_collector() -> None:
    """Each stage is below its parent; the same trace is in the log and in the build."""
    async with open_stack(["repository-000"]) as stack, open_collector() as (address, received):
        ((push,),) = await make_pushes(stack, repositories=1, pushes=1)
        await stack.send(push)
        variables = environment(stack, status={"traces": True, "listen": "off"})
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = address
        # Sent as they end, not all in the few seconds of the service's shutdown.
        variables["OTEL_BSP_SCHEDULE_DELAY"] = "100"
        async with open_service(variables, "drain") as service:
            assert await service.wait() == 0
        (build,) = journal.read(stack.journal)

    attributes = {each.key: each.value.string_value for each in received[0].resource.attributes}
    assert attributes["service.name"] == "asyncbuild"
    spans = {
        span.name: span
        for resource in received
        for scope in resource.scope_spans
        for span in scope.spans
    }
    names = {span.span_id: name for name, span in spans.items()}
    whole_name = f"process {QUEUE}"
    assert {name: names.get(span.parent_span_id, "") for name, span in spans.items()} == {
        whole_name: "",
        "push.prepare": whole_name,
        "push.fetch": "push.prepare",
        "push.upload": "push.prepare",
        "push.start": whole_name,
    }
    trace, root = trace_id(push.id), root_span_id(push.id)
    assert {span.trace_id.hex() for span in spans.values()} == {trace}
    assert spans[whole_name].span_id.hex() == root
    assert build.variables["TRACEPARENT"] == f"00-{trace}-{root}-01"
    told = {line["trace_id"] for line in service.log if line.get("event_id") == push.id}
    assert told == {trace}
    whole = spans[whole_name]
    for span in spans.values():
        assert whole.start_time_unix_nano <= span.start_time_unix_nano < span.end_time_unix_nano
