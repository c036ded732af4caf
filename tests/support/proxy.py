"""Parts that proxies share: passing a request on, and ports on loopback."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import Final

import aiohttp
import anyio
from aiohttp import web

_MOST_BYTES: Final = 64 * 1024 * 1024
_SKIPPED: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "expect", "content-encoding", "date"}
)
Handle = Callable[[aiohttp.ClientSession, web.Request], Awaitable[web.StreamResponse]]


async def pass_on(
    client: aiohttp.ClientSession, server: str, request: web.Request, body: bytes
) -> web.Response:
    """Send `server` the same request, and return its answer."""
    headers = {k: v for k, v in request.headers.items() if k.lower() not in _SKIPPED}
    async with client.request(
        request.method,
        server + request.raw_path,
        headers=headers,
        data=BytesIO(body) if body else None,
    ) as answer:
        content = await answer.read()
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in _SKIPPED}
        if request.method != "HEAD":
            kept.pop("Content-Length", None)
        return web.Response(status=answer.status, headers=kept, body=content)


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port of 127.0.0.1 that refuses connections and that no other program can take."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # and no listen(): connections are refused
        yield int(holder.getsockname()[1])


@asynccontextmanager
async def open_proxy(handle: Handle, *, ports: int = 1) -> AsyncIterator[list[int]]:
    """Let `handle` answer on so many ports of 127.0.0.1 while inside; yield their numbers."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as client:

        async def answer(request: web.Request) -> web.StreamResponse:
            return await handle(client, request)

        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", "/{anything:.*}", answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=False)
        await runner.setup()
        try:
            for _ in range(ports):
                await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield [int(address[1]) for address in runner.addresses]
        finally:
            with anyio.CancelScope(shield=True):
                await runner.cleanup()
