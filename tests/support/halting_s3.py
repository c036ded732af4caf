"""A proxy in front of S3 that halts in the middle of an upload or a download of chosen keys.

A test then kills the process that waits, at a known byte, and lets the proxy go on for the next.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

import aiohttp
import anyio
from aiohttp import web
from support.proxy import open_proxy, pass_on


@dataclass
class HaltingS3:
    """State of the proxy.

    Attributes:
        server: Endpoint of the server.
        halted: Set as soon as a request is held.
        passed_bytes: Bytes of matching requests that got through since `halt`.
    """

    server: str
    port: int = 0
    halted: anyio.Event = field(default_factory=anyio.Event)
    passed_bytes: int = 0
    _method: str = ""
    _part: str = ""
    _after_bytes: int = 0
    _resumed: anyio.Event = field(default_factory=anyio.Event)

    @property
    def endpoint_url(self) -> str:
        """Return the endpoint at which clients reach the server."""
        return f"http://127.0.0.1:{self.port}"

    def halt(self, method: Literal["PUT", "GET"], part: str, *, after_bytes: int = 0) -> None:
        """Hold requests of a method from a number of bytes on.

        Of an upload nothing reaches the server that was not complete before. Of a download the
        client gets exactly so many bytes.

        Args:
            method: PUT holds uploads, of parts, too; GET downloads.
            part: Part of the keys that are concerned.
            after_bytes: Bytes that pass before, of all such requests together.
        """
        self.resume()
        self.halted, self._resumed = anyio.Event(), anyio.Event()
        self._method, self._part, self._after_bytes = method, part, after_bytes
        self.passed_bytes = 0

    def resume(self) -> None:
        """Pass on everything from now on; requests that are held get no answer."""
        self._method = ""
        self._resumed.set()

    async def handle(
        self, client: aiohttp.ClientSession, request: web.Request
    ) -> web.StreamResponse:
        """Pass a request on, or hold it."""
        try:
            body = await request.read()
        except ConnectionError:  # its process was killed
            return web.Response()
        held = request.method == self._method and self._part in unquote(request.path)
        if held and request.method == "PUT":
            if self._room() < len(body) or not self._room():
                return await self._hold(request)
            self.passed_bytes += len(body)
        answer = await pass_on(client, self.server, request, body)
        if held and request.method == "GET":
            return await self._give(request, answer)
        return answer

    def _room(self) -> int:
        return self._after_bytes - self.passed_bytes

    async def _give(self, request: web.Request, answer: web.Response) -> web.StreamResponse:
        content = answer.body if isinstance(answer.body, bytes) else b""
        room = self._room()
        self.passed_bytes += min(room, len(content))
        if len(content) < room:
            return answer
        cut = web.StreamResponse(status=answer.status, headers=answer.headers)
        cut.content_length = len(content)
        await cut.prepare(request)
        await cut.write(content[:room])
        return await self._hold(request)

    async def _hold(self, request: web.Request) -> web.StreamResponse:
        self.halted.set()
        await self._resumed.wait()
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


@asynccontextmanager
async def open_halting_s3(server: str) -> AsyncIterator[HaltingS3]:
    """Serve while inside."""
    proxy = HaltingS3(server)
    async with open_proxy(proxy.handle) as (proxy.port,):
        try:
            yield proxy
        finally:
            proxy.resume()
