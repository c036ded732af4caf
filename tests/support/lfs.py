"""The batch API of Git LFS on a server for tests (git-lfs, docs/api/batch.md); it can misbehave."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from aiohttp import web

_JSON = "application/vnd.git-lfs+json"
DOWNLOAD_TOKEN = "Bearer only-for-one-download"


def pointer_of(content: bytes) -> bytes:
    """Return the pointer that git-lfs puts into the tree."""
    oid = hashlib.sha256(content).hexdigest()
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    ).encode()


@dataclass
class LfsServer:
    """Contents by their ids, the way they are served, and the requests received.

    Attributes:
        objects: Object id → content.
        status: Answer each batch with this.
        message: Text of that answer.
        headers: Headers of that answer.
        download_status: Answer each download with this.
        corrupt: Send other bytes.
        gzip: Declare the answers as compressed.
        cut_after_bytes: End a download there.
        stall_after_bytes: Hold a download back there, until `resume` is set.
        elsewhere: URL of another server, to which downloads are sent
        by_redirect: Send them by a redirect, not by the batch's answer.
        token: Downloads need the header that the batch's answer names.
        asked: Ids of all batches.
        logins: The `Authorization` of every request.
        ranges: The `Range` of every download that had one.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    download_status: int = 200
    corrupt: bool = False
    gzip: bool = False
    cut_after_bytes: int | None = None
    stall_after_bytes: int | None = None
    elsewhere: str = ""
    by_redirect: bool = False
    token: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    logins: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    resume: anyio.Event = field(default_factory=anyio.Event)

    def add(self, content: bytes) -> bytes:
        """Keep a content, and return its pointer."""
        self.objects[hashlib.sha256(content).hexdigest()] = content
        return pointer_of(content)

    async def batch(self, request: web.Request) -> web.StreamResponse:
        """Answer `POST …/objects/batch`."""
        self._note(request)
        if not request.path.endswith("/objects/batch") or request.method != "POST":
            return web.Response(status=404)
        if self.status != 200:
            document = {"message": self.message or "no"}
            return web.json_response(document, status=self.status, headers=self.headers)
        asked = (await request.json())["objects"]
        self.asked.update(each["oid"] for each in asked)
        answer = {"transfer": "basic", "objects": [self._say(request, each) for each in asked]}
        return web.json_response(answer, content_type=_JSON)

    def _say(self, request: web.Request, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] not in self.objects:
            return {**asked, "error": {"code": 404, "message": "Object does not exist"}}
        server = f"{request.scheme}://{request.host}"
        if self.elsewhere and not self.by_redirect:
            server = self.elsewhere
        download: dict[str, Any] = {"href": f"{server}/lfs/{asked['oid']}"}
        if self.token:
            download["header"] = {"Authorization": DOWNLOAD_TOKEN}
        return {**asked, "actions": {"download": download}}

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Answer `GET /lfs/OID`."""
        self._note(request)
        oid = request.path.rpartition("/")[2]
        if self.elsewhere and self.by_redirect and "elsewhere" not in request.query:
            return web.Response(status=302, headers={"Location": f"{self.elsewhere}/lfs/{oid}"})
        if self.download_status != 200:
            return web.Response(status=self.download_status, text="no")
        if self.token and request.headers.get("Authorization") != DOWNLOAD_TOKEN:
            return web.Response(status=403)
        content = self.objects[oid]
        if self.corrupt:
            content = bytes(len(content))
        begin = 0
        if wanted := request.headers.get("Range"):
            self.ranges.append(wanted)
            begin = int(wanted.removeprefix("bytes=").partition("-")[0])
        response = web.StreamResponse(status=206 if begin else 200)
        if self.gzip:
            response.headers["Content-Encoding"] = "gzip"
        response.content_length = len(content) - begin
        await response.prepare(request)
        cut = self.cut_after_bytes or self.stall_after_bytes
        await response.write(content[begin : begin + cut] if cut else content[begin:])
        if self.stall_after_bytes is not None:
            await self.resume.wait()
        if self.cut_after_bytes is not None and request.transport is not None:
            request.transport.close()
        return response

    def _note(self, request: web.Request) -> None:
        self.logins.append((request.path, request.headers.get("Authorization")))


@asynccontextmanager
async def open_elsewhere(lfs: LfsServer) -> AsyncIterator[tuple[str, LfsServer]]:
    """Open another server with the same contents; yield its URL and the server."""
    other = LfsServer(lfs.objects)
    application = web.Application()
    application.router.add_get("/lfs/{oid}", other.download)
    application.router.add_post("/{path:.*}", other.batch)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", other
    finally:
        await runner.cleanup()
