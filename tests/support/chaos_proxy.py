"""A faulty HTTP proxy between the service's processes and their servers, on loopback.

It delays, throttles and fails with the services' own error documents, and cuts connections before
and after the server has acted. What it does to the n-th request of an operation follows from the
seed alone, so a run can be repeated as far as several processes can be.

Every process has its own port, so that the proxy knows whose request it is.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

import aiohttp
import anyio
import orjson
from aiohttp import web
from support.proxy import open_proxy, pass_on


class Fault(StrEnum):
    """Fault applied to a request."""

    DELAY = "delayed"
    THROTTLE = "throttled"
    ERROR = "answered 500"
    CUT_BEFORE = "cut before the server acted"
    CUT_AFTER = "cut after the server acted"


@dataclass(frozen=True, slots=True)
class Odds:
    """Rate of each fault; `delay_seconds` is the longest delay."""

    rates: Mapping[Fault, float] = field(
        default_factory=lambda: {
            Fault.DELAY: 0.03,
            Fault.THROTTLE: 0.03,
            Fault.ERROR: 0.03,
            Fault.CUT_BEFORE: 0.02,
            Fault.CUT_AFTER: 0.02,
        }
    )
    delay_seconds: float = 0.5

    def draw(self, random: Random) -> Fault | None:
        """Draw the fault of one request, or none."""
        left = random.random()
        for fault, rate in self.rates.items():
            left -= rate
            if left < 0:
                return fault
        return None


@dataclass
class ChaosProxy:
    """A faulty proxy in front of one server: `sqs`, `s3` or `codebuild`; `counts` is the table."""

    service: str
    server: str
    odds: Odds
    seed: int
    ports: list[int] = field(default_factory=list)
    counts: Counter[tuple[str, Fault]] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    calm: bool = False
    slow_keys: str = ".zip"
    slowness_seconds: float = 0.0  # added to the upload of an object whose key ends so
    uploads: dict[str, int] = field(
        default_factory=dict
    )  # upload id → port of the request that began it
    unheard: set[str] = field(default_factory=set)  # uploads whose id was lost with the answer

    def endpoint_url(self, number: int) -> str:
        """Return the endpoint of the server for process `number`."""
        return f"http://127.0.0.1:{self.ports[number]}"

    async def handle(self, client: aiohttp.ClientSession, request: web.Request) -> web.Response:
        """Pass a request on, or not."""
        operation = self._operation(request)
        self.requests[operation] += 1
        fate = Random(f"{self.seed}/{operation}/{self.requests[operation]}")  # noqa: S311 - repeatable, not secret
        fault = None if self.calm else self.odds.draw(fate)
        if fault is not None:
            self.counts[operation, fault] += 1
        try:
            body = await request.read()
        except ConnectionError:  # its process was killed
            return _cut(request)
        match fault:
            case Fault.DELAY:
                await anyio.sleep(fate.random() * self.odds.delay_seconds)
            case Fault.THROTTLE:
                return _refusal(self.service, throttled=True)
            case Fault.ERROR:
                return _refusal(self.service, throttled=False)
            case Fault.CUT_BEFORE:
                return _cut(request)
            case _:
                pass
        slow = operation in {"PutObject", "UploadPart"} and request.path.endswith(self.slow_keys)
        if slow and self.slowness_seconds:
            await anyio.sleep(self.slowness_seconds)
        answer = await pass_on(client, self.server, request, body)
        if operation == "CreateMultipartUpload":
            self._note_upload(request, answer, heard=fault is not Fault.CUT_AFTER)
        return _cut(request) if fault is Fault.CUT_AFTER else answer

    def _operation(self, request: web.Request) -> str:
        target = request.headers.get("X-Amz-Target")
        if target is not None:
            return target.rpartition(".")[2]
        query = request.query
        names: dict[str, str] = {
            "PUT": "UploadPart" if "partNumber" in query else "PutObject",
            "POST": "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload",
            "GET": "ListObjectsV2" if "list-type" in query else "GetObject",
            "DELETE": "AbortMultipartUpload" if "uploadId" in query else "DeleteObject",
            "HEAD": "HeadObject",
        }
        return names[request.method]

    def _note_upload(self, request: web.Request, answer: web.Response, *, heard: bool) -> None:
        content = answer.body if isinstance(answer.body, bytes) else b""
        found = re.search(rb"<UploadId>([^<]+)", content)
        if found is None:
            return
        id_ = found[1].decode()
        self.uploads[id_] = _port_of(request)
        if not heard:
            self.unheard.add(id_)


def _port_of(request: web.Request) -> int:
    transport: Any = request.transport
    return int(transport.get_extra_info("sockname")[1]) if transport else 0


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _refusal(service: str, *, throttled: bool) -> web.Response:
    """Return the service's own error document for a throttle or an internal error."""
    if service == "s3":
        code, status = ("SlowDown", 503) if throttled else ("InternalError", 500)
        text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
        return web.Response(status=status, text=text, content_type="application/xml")
    kind = "x-amz-json-1.0" if service == "sqs" else "x-amz-json-1.1"
    code = {
        ("sqs", True): "com.amazonaws.sqs#RequestThrottled",
        ("codebuild", True): "ThrottlingException",
    }.get((service, throttled), "InternalFailure")
    return web.Response(
        status=400 if throttled else 500,
        body=orjson.dumps({"__type": code, "message": "Rate exceeded" if throttled else "broken"}),
        content_type=f"application/{kind}",
    )


@asynccontextmanager
async def open_chaos_proxy(
    service: str, server: str, *, seed: int, processes: int = 1, odds: Odds | None = None
) -> AsyncIterator[ChaosProxy]:
    """Serve while inside, on a port for each process."""
    proxy = ChaosProxy(service, server, odds or Odds(), seed)
    async with open_proxy(proxy.handle, ports=processes) as proxy.ports:
        yield proxy
