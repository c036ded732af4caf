"""A proxy that delays every request to AWS by a fixed time, and keeps what was asked when."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import anyio
from aiohttp import web
from support.proxy import open_proxy, pass_on

_S3_VERBS = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it came and was answered (epoch seconds), its service, kind and key."""

    begun: float
    ended: float
    service: str
    kind: str
    subject: str


@dataclass(slots=True)
class Meter:
    """The requests so far. `endpoint_url` stands in front of all `servers`, by service."""

    servers: dict[str, str]
    delay_seconds: float
    endpoint_url: str = ""
    requests: list[Request] = field(default_factory=list)

    def take(self) -> list[Request]:
        """Return the requests since the last call."""
        taken, self.requests = self.requests, []
        return taken

    async def handle(
        self, client: aiohttp.ClientSession, request: web.Request
    ) -> web.StreamResponse:
        """Answer one request, late."""
        begun, body = time.time(), await request.read()
        # The credential's scope names the service: KEY/DATE/REGION/SERVICE/aws4_request.
        scope = request.headers["Authorization"].partition("Credential=")[2].split(",")[0]
        service = scope.split("/")[3]
        await anyio.sleep(self.delay_seconds)
        answer = await pass_on(client, self.servers[service], request, body)
        kind, subject = _kind(service, request)
        if kind == "ReceiveMessage" and b'"Messages"' not in (answer.body or b""):  # type: ignore[operator]
            kind = "ReceiveMessage, empty"
        self.requests.append(Request(begun, time.time(), service, kind, subject))
        return answer


@asynccontextmanager
async def open_meter(servers: dict[str, str], delay_seconds: float) -> AsyncIterator[Meter]:
    """Serve while inside.

    Args:
        servers: URL of the server of each service.
        delay_seconds: Delay of each request.
    """
    meter = Meter(servers, delay_seconds)
    async with open_proxy(meter.handle) as (port,):
        meter.endpoint_url = f"http://127.0.0.1:{port}"
        yield meter


def _kind(service: str, request: web.Request) -> tuple[str, str]:
    if target := request.headers.get("X-Amz-Target"):
        return target.rpartition(".")[2], ""
    if service != "s3":
        return request.method, ""
    key = request.path.split("/", 2)[2] if request.path.count("/") > 1 else ""
    if not key:
        return "ListObjectsV2", request.query.get("prefix", "")
    if "uploadId" in request.query or "uploads" in request.query:
        return f"multipart {request.method}", key
    if "x-amz-copy-source" in request.headers:
        return "CopyObject", key
    return _S3_VERBS[request.method], key


def counts(requests: list[Request], ledger_prefix: str) -> Counter[tuple[str, str]]:
    """Return the number of requests by kind and, for S3, by what the key is for.

    Args:
        requests: The requests.
        ledger_prefix: Prefix of the records' keys.
    """
    return Counter((each.kind, _purpose(each, ledger_prefix)) for each in requests)


def _purpose(request: Request, ledger_prefix: str) -> str:
    if request.service != "s3":
        return request.service
    if request.subject.startswith(ledger_prefix):
        return request.subject.removeprefix(ledger_prefix).split("/")[0]
    return "archive"
