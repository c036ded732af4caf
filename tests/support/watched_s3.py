"""A proxy in front of S3 that keeps every version of the ledger's results, and counts requests."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

import aiohttp
import orjson
from aiohttp import web
from support.proxy import open_proxy, pass_on

_FOR_RESULTS = ("result/", "unfinished/", "started/")
_AGE = re.compile(rb"<LastModified>([^<]+)</LastModified>")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a record: when it was written, its ETag, the one it replaced, its contents."""

    time: float
    etag: str
    replaced: str
    record: Mapping[str, Any]

    def __str__(self) -> str:
        return f"attempt {self.record['attempt']} {self.record['status']}"


@dataclass
class WatchedS3:
    """State of the proxy.

    Attributes:
        server: Endpoint of the server.
        bucket: Bucket of the ledger.
        prefix: Prefix of the ledger.
        older_seconds: So much older the marks of unfinished builds look in listings.
        versions: Written versions of each result, by key below `result/`.
        requests: Number of requests by purpose: `push`, `start`, `result` and `round`.
        kinds: Number of requests by method and first part of the key, or of the listed prefix.
    """

    server: str
    bucket: str
    prefix: str
    older_seconds: float = 0.0
    ports: list[int] = field(default_factory=list)
    versions: dict[str, list[Version]] = field(default_factory=lambda: defaultdict(list))
    requests: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def endpoint_url(self) -> str:
        """Return the endpoint at which clients reach the server."""
        return f"http://127.0.0.1:{self.ports[0]}"

    async def handle(self, client: aiohttp.ClientSession, request: web.Request) -> web.Response:
        """Pass a request on, and note it."""
        try:
            body = await request.read()
        except ConnectionError:  # its process was killed
            return web.Response()
        listed = request.query.get("prefix")
        key = unquote(request.path).removeprefix(f"/{self.bucket}/").removeprefix(self.prefix)
        self.requests[self._purpose(request.method, key, listed)] += 1
        part = key.partition("/")[0] if listed is None else listed.removeprefix(self.prefix)
        named = key.endswith(".zip") or not part
        self.kinds[f"{request.method} {'archive' if named else part.partition('/')[0]}"] += 1
        answer = await pass_on(client, self.server, request, body)
        if request.method == "PUT" and key.startswith("result/") and answer.status == 200:
            self._note(key, _without_chunks(request, body), request, answer)
        if listed == f"{self.prefix}unfinished/" and self.older_seconds:
            answer.body = _AGE.sub(self._older, bytes(answer.body or b""))  # type: ignore[arg-type] # as it was set
        return answer

    def _purpose(self, method: str, key: str, listed: str | None) -> str:
        if listed is not None and listed.startswith(f"{self.prefix}unfinished/"):
            return "round"
        if not key.startswith(_FOR_RESULTS):
            return "push"
        return "start" if method == "PUT" and not key.startswith("result/") else "result"

    def _note(self, key: str, body: bytes, request: web.Request, answer: web.Response) -> None:
        etag, replaced = answer.headers.get("ETag", ""), request.headers.get("If-Match", "")
        if not replaced and request.headers.get("If-None-Match") != "*":
            replaced = "anything"
        self.versions[key.removeprefix("result/")].append(
            Version(time.time(), etag.strip('"'), replaced.strip('"'), orjson.loads(body))
        )

    def _older(self, found: re.Match[bytes]) -> bytes:
        moment = datetime.fromisoformat(found[1].decode())
        older = moment.astimezone(UTC) - timedelta(seconds=self.older_seconds)
        text = older.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return f"<LastModified>{text}</LastModified>".encode()

    def iter_backwards(self) -> Iterator[str]:
        """Yield each place where a record went backwards, or was written without a condition."""
        for key, versions in self.versions.items():
            ordered = list(_in_order(versions))
            if len(ordered) != len(versions):
                yield f"{key}: versions without a condition: {[str(each) for each in versions]}"
            for before, after in pairwise(ordered):
                if not _is_progress(before.record, after.record):
                    yield f"{key}: {before}, then {after}"


def _in_order(versions: list[Version]) -> Iterator[Version]:
    """Yield versions, each after the one that it replaced."""
    by_replaced = {each.replaced: each for each in versions}
    found = by_replaced.pop("", None)
    while found is not None:
        yield found
        found = by_replaced.pop(found.etag, None)


def _is_progress(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    if after["attempt"] != before["attempt"]:
        return bool(after["attempt"] > before["attempt"])
    return bool(before["status"] == "in-progress")


def _without_chunks(request: web.Request, body: bytes) -> bytes:
    """Return the contents of an upload that carries its checksum behind it (`aws-chunked`)."""
    if "aws-chunked" not in request.headers.get("Content-Encoding", ""):
        return body
    contents, rest = b"", body
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if not length:
            break
        contents, rest = contents + rest[:length], rest[length + 2 :]
    return contents


@asynccontextmanager
async def open_watched_s3(server: str, bucket: str, prefix: str) -> AsyncIterator[WatchedS3]:
    """Serve while inside."""
    watched = WatchedS3(server, bucket, prefix)
    async with open_proxy(watched.handle) as watched.ports:
        yield watched
