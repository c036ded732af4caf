"""`check` against servers without a call: a note, and all other questions are asked."""

import json
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web
from support.proxy import open_proxy, pass_on

from asyncbuild.checks.gather import iter_findings
from asyncbuild.checks.judges.finding import Finding, FindingKind, Level, exit_code_of
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.queue.sqs import LOST

Asks = Callable[[web.Request], bool]


def _of(target: str) -> Asks:
    return lambda request: request.headers.get("X-Amz-Target", "").endswith(f".{target}")


def _subresource(name: str) -> Asks:
    return lambda request: request.method == "GET" and name in request.query


QUESTIONS: dict[str, Asks] = {
    "lifecycle": _subresource("lifecycle"),
    "versioning": _subresource("versioning"),
    "head of the bucket": lambda request: (
        request.method == "HEAD" and request.path.strip("/") == BUCKET
    ),
    "list": _subresource("list-type"),
    "parts": lambda request: request.method == "PUT" and "partNumber" in request.query,
    "queue attributes": _of("GetQueueAttributes"),
    "queue url": _of("GetQueueUrl"),
    "visibility": _of("ChangeMessageVisibility"),
    "projects": _of("BatchGetProjects"),
    "builds": _of("ListBuildsForProject"),
}


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[Stack]:
    """Open the demo's cloud."""
    async with open_stack(["web"]) as stack:
        yield stack


def _refuse(request: web.Request, code: str = "UnknownOperationException") -> web.Response:
    if "X-Amz-Target" in request.headers:
        body = {"__type": code, "message": "not here"}
        return web.Response(
            status=404, text=json.dumps(body), content_type="application/x-amz-json-1.1"
        )
    text = "<Error><Code>NotImplemented</Code><Message>not here</Message></Error>"
    return web.Response(status=501, text=text, content_type="application/xml")


async def _findings(stack: Stack, asks: Asks, *code: str) -> tuple[list[Finding], int]:
    """Return the findings of `check` where the question is refused, and the number of refusals."""
    refused = 0
    servers = [str(stack.settings.aws.endpoint_url), str(stack.standin.endpoint_url)]

    async def handle(client: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
        nonlocal refused
        if asks(request):
            refused += 1
            return _refuse(request, *code)
        body = await request.read()
        of_builds = "CodeBuild" in request.headers.get("X-Amz-Target", "")
        return await pass_on(client, servers[of_builds], request, body)

    async with open_proxy(handle) as ports:
        url = f"http://127.0.0.1:{ports[0]}"
        given = stack.settings.model_dump(mode="json", exclude_defaults=True)
        for section in ("aws", "queue", "storage", "builds"):
            given[section] = {**given.get(section, {}), "endpoint_url": url}
        given["builds"]["project"] = "web"
        settings = type(stack.settings)(**given)
        return [each async for each in iter_findings(settings)], refused


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_missing_call_is_a_note(stack: Stack, question: str) -> None:
    """The rest of the check is done, and the exit code is not that of an outage."""
    findings, refused = await _findings(stack, QUESTIONS[question])
    assert refused
    assert exit_code_of(findings) in {0, 1}
    assert not [each for each in findings if each.kind is FindingKind.REACH]
    noted = [each for each in findings if "not here" in each.what or "cannot tell" in each.what]
    noted += [each for each in findings if ": 501: " in each.what]
    assert noted
    assert {each.level for each in noted} == {Level.NOTE}
    asked = {each.name.partition(".")[0] for each in findings}
    assert {"machine", "queue", "bucket", "project", "rights"} <= asked


@pytest.mark.parametrize("code", sorted(LOST))
async def test_a_made_up_handle_may_be_refused_by_any_code(stack: Stack, code: str) -> None:
    """Each code that the service takes for a lost lease shows that the right exists."""
    findings, refused = await _findings(stack, QUESTIONS["visibility"], code)
    assert refused == 2  # at the queue of pushes, and at that of results
    found = [each for each in findings if each.name.endswith(":ChangeMessageVisibility")]
    assert [each.level for each in found] == [Level.OK] * len(found)
    assert found
