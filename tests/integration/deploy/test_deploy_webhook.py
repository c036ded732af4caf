"""deploy/webhook.yaml on a server: a forge's request becomes a message that the service reads."""

import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus, urlsplit
from uuid import uuid4

import aiohttp
import airspeed
import orjson
import pytest
from support.deployed import open_client, open_stack
from support.stacks import WEBHOOK, template
from support.webhooks import (
    DELIVERY,
    SENT,
    SIGNING_TOKEN,
    headers,
    hosts,
    payload,
    signed_headers,
)

from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Message, Push
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.forges.webhooks.senders import MessageReader, Signature
from asyncbuild.local.servers.children import LocalServer
from asyncbuild.queue.sqs import Queue

# Each kind's host and the repository's id in the payload of the fixtures.
_GROUPS = {
    ForgeKind.GITHUB: ("github.com", "35129377"),
    ForgeKind.GITLAB: ("gitlab.com", "15"),
    ForgeKind.BITBUCKET: ("bitbucket.org", "{673a6070-3421-46c9-9d48-90745f7bfe8e}"),
    ForgeKind.BITBUCKET_SERVER: ("git.acme.example", "84"),
    ForgeKind.GITEA: ("gitea.example.com", "140"),
    ForgeKind.FORGEJO: ("forgejo.example.com", "140"),
    ForgeKind.AZURE_DEVOPS: ("dev.azure.com", "278d5cd2-584d-4b63-824a-2ba458937249"),
}


class _Input:
    """`$input` of a mapping template, for one request."""

    def __init__(self, body: bytes, sent: Mapping[str, str]) -> None:
        self.body = body.decode()
        self._sent = sent

    def params(self, name: str) -> str:
        """Return a header by exactly this name."""
        return self._sent.get(name, "")

    def path(self, where: str) -> object:
        """Return the value at a JSON path that consists of names."""
        found: Any = orjson.loads(self.body)
        for name in where.removeprefix("$.").split("."):
            found = found.get(name, {})
        return found or ""


class _Util:
    """`$util` of a mapping template."""

    def urlEncode(self, text: str) -> str:  # noqa: N802 - as API Gateway has it
        """Return the text in the encoding of `application/x-www-form-urlencoded`."""
        return quote_plus(text)


@dataclass(frozen=True, slots=True)
class _Gateway:
    """The deployed method, run by an independent reader of its template, and its queue."""

    template: str
    queue_url: str
    queue: Queue

    async def post(self, body: bytes, sent: Mapping[str, str]) -> int:
        """Send one request; return the status of SQS for what the template makes of it."""
        request = {"extendedRequestId": f"{uuid4().hex[:15]}="}
        variables = {"input": _Input(body, sent), "util": _Util(), "context": request}
        form = airspeed.Template(self.template).merge(variables)
        assert form.startswith("Action=SendMessage&")
        assert "\n" not in form
        told = {"Content-Type": "application/x-www-form-urlencoded"}
        async with (
            aiohttp.ClientSession() as client,
            client.post(self.queue_url, data=io.BytesIO(form.encode()), headers=told) as answer,
        ):
            return answer.status

    async def receive(self) -> list[Message]:
        """Return the messages in the queue."""
        return await self.queue.receive(most=10, wait_seconds=0, visibility_seconds=30)


@asynccontextmanager
async def _open(server: LocalServer, kind: ForgeKind) -> AsyncIterator[_Gateway]:
    name = f"webhooks-{uuid4().hex[:8]}.fifo"
    async with open_client(server, "sqs") as sqs, open_client(server, "apigateway") as apis:
        fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        url = (await sqs.create_queue(QueueName=name, Attributes=fifo))["QueueUrl"]
        parameters = {"Kind": str(kind), "Host": _GROUPS[kind][0], "QueueName": name}
        async with open_stack(server, template(WEBHOOK), **parameters) as (_, outputs):
            api, _, _ = str(urlsplit(outputs["PayloadUrl"]).hostname).partition(".")
            resources = (await apis.get_resources(restApiId=api))["items"]
            last = outputs["PayloadUrl"].rpartition("/")[2]
            assert len(last) >= 32
            (hook,) = [each for each in resources if each["path"] == f"/{last}"]
            assert [each["path"] for each in resources if each.get("resourceMethods")] == [
                hook["path"]
            ]
            integration = await apis.get_integration(
                restApiId=api, resourceId=hook["id"], httpMethod="POST"
            )
            assert integration["uri"].endswith(f":sqs:path/{urlsplit(url).path[1:]}")
            made = integration["requestTemplates"]["application/json"]
            yield _Gateway(made, url, Queue(polls=sqs, control=sqs, url=url))


@pytest.mark.parametrize("lower", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("kind", ForgeKind)
async def test_a_webhook_is_a_push(ministack: LocalServer, kind: ForgeKind, *, lower: bool) -> None:
    """Equal byte for byte, so that its signature fits; grouped by repository.

    Recognised by its id.
    """
    document = payload(kind)
    document["said"] = 'a + b & c=d %41 "quoted" $input.body #set($x = 1) ## ö \u2028 \\ {{'
    body = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    sent = headers(kind, body)
    if lower:
        sent = {name.lower(): value for name, value in sent.items()}
    host, id_ = _GROUPS[kind]
    async with _open(ministack, kind) as gateway:
        for _ in range(2):  # the forge repeats a request without an answer
            assert await gateway.post(body, sent) == HTTPStatus.OK
        (message,) = await gateway.receive()
    assert message.body.encode() == body
    assert message.group == f"{host}/{id_}"
    assert message.attributes["Webhook-Host"] == host
    (push,) = hosts().read(message)
    assert isinstance(push, Push)
    assert push.id == DELIVERY


@pytest.mark.parametrize("lower", [False, True], ids=["http1", "http2"])
async def test_gitlabs_signing_headers_reach_the_queue(
    ministack: LocalServer, *, lower: bool
) -> None:
    """Its three headers do, and the secret token beside them does not."""
    body = orjson.dumps(payload(ForgeKind.GITLAB))
    sent = {**headers(ForgeKind.GITLAB, body), **signed_headers(body)}
    if lower:
        sent = {name.lower(): value for name, value in sent.items()}
    async with _open(ministack, ForgeKind.GITLAB) as gateway:
        assert await gateway.post(body, sent) == HTTPStatus.OK
        (message,) = await gateway.receive()
    assert "X-Gitlab-Token" not in message.attributes
    (push,) = hosts(secrets=(SIGNING_TOKEN,)).read(replace(message, sent=SENT))
    assert isinstance(push, Push)
    assert push.id == DELIVERY


async def test_a_gitlab_without_ids_loses_no_push(ministack: LocalServer) -> None:
    """Before 17.4.

    A branch deleted and created again, two branches at one commit, within a minute.
    """
    main = payload(ForgeKind.GITLAB)
    other = {**main, "ref": "refs/heads/other"}
    async with _open(ministack, ForgeKind.GITLAB) as gateway:
        for document in (main, other, main):
            body = orjson.dumps(document)
            sent = headers(ForgeKind.GITLAB, body)
            del sent["Idempotency-Key"]
            sent["X-Gitlab-Event-UUID"] = "13792a34-cac6-4fda-95a8-c58e00a3954e"  # of one chain
            assert await gateway.post(body, sent) == HTTPStatus.OK
        messages = await gateway.receive()
    events = [event for message in messages for event in hosts().read(message)]
    pushes = [event for event in events if isinstance(event, Push)]
    assert len({push.id for push in pushes}) == 3
    refs = [push.ref for push in pushes]
    assert [main["ref"], "refs/heads/other", main["ref"]] == refs


async def test_a_payload_that_is_too_long_is_refused(ministack: LocalServer) -> None:
    """The forge gets an error, and nothing reaches the queue."""
    body = b'{"repository": {"id": 1}, "commits": "' + b"x" * 2**20 + b'"}'
    async with _open(ministack, ForgeKind.GITHUB) as gateway:
        answer = await gateway.post(body, headers(ForgeKind.GITHUB, body))
        assert answer == HTTPStatus.BAD_REQUEST
        assert await gateway.receive() == []


@pytest.mark.parametrize("kind", ForgeKind)
async def test_a_request_is_never_read_from_a_gateway(
    ministack: LocalServer, kind: ForgeKind
) -> None:
    """Who knows the address cannot ask for a build by a push message, signed or not."""
    body = orjson.dumps(
        {
            "asyncbuild": "push",
            "version": 1,
            "repository": {"account": "123456789012", "region": "eu-west-1", "name": "web"},
            "ref": "refs/heads/main",
            "commit": "tip",
            "source": "schedule",
            "time": "2026-11-01T10:23:43Z",
        }
    )
    forged = dict.fromkeys(headers(kind, body), "x&MessageAttribute.1.Name=y")
    async with _open(ministack, kind) as gateway:
        for sent in (headers(kind, body), forged):
            assert await gateway.post(body, sent) == HTTPStatus.OK
        received = await gateway.receive()
    assert received
    for message in received:
        for reader in (hosts(), hosts(signature=Signature.OFF), MessageReader()):
            try:
                events = reader.read(replace(message, sent=SENT))
            except Reject:
                continue
            assert not any(isinstance(each, Push) for each in events)
