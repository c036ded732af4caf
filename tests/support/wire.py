"""Faults between a client and S3: calls that hang or fail, connections that are cut."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, SocketAttribute
from botocore.exceptions import ClientError

Call = Callable[..., Awaitable[Any]]
Tap = Callable[[Call, dict[str, Any]], Awaitable[Any]]


class Tapped:
    """A client with taps on some calls: `tap(call, parameters)` makes the call or does not.

    A double of the foreign client, never of our code; what it does not tap is the real thing.
    """

    def __init__(self, client: object, **taps: Tap) -> None:
        self._client = client
        self._taps = taps
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Call:
        call = cast("Call", getattr(self._client, name))
        tap = self._taps.get(name)

        async def tapped(**parameters: object) -> object:
            self.calls.append(name)
            return await (tap(call, parameters) if tap else call(**parameters))

        return tapped


def refused(code: str, *, status: int = 400, retries: int = 0) -> ClientError:
    """Return an error answer of S3."""
    metadata: Any = {"HTTPStatusCode": status, "RetryAttempts": retries}
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": metadata}, "AnyCall")


@asynccontextmanager
async def open_cutting_proxy(
    endpoint_url: str, *, cut_request: bytes = b"", lose_answer: bytes = b""
) -> AsyncIterator[str]:
    """Pass bytes on between client and server, but once cut the connection.

    Args:
        endpoint_url: The server.
        cut_request: Cut as soon as a request that begins so has come in part; never if empty.
        lose_answer: Pass on a request that begins so, wait for its answer (a `100 Continue` is
            none), and cut instead of passing that on; never if empty.

    Raises:
        AssertionError: at the end, if a connection that was to be cut never was.

    Yields:
        The URL to reach the server by.
    """
    faults = {"request": cut_request, "answer": lose_answer}
    url = urlsplit(endpoint_url)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def serve(client: ByteStream) -> None:
        async with client, await anyio.connect_tcp(str(url.hostname), url.port or 80) as server:
            losing = anyio.Event()

            async def answer() -> None:
                async for received in server:
                    if losing.is_set() and not received.startswith(b"HTTP/1.1 100 "):
                        faults["answer"] = b""
                        break
                    await client.send(received)
                tasks.cancel_scope.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answer)
                async for received in client:
                    if faults["request"] and received.startswith(faults["request"]):
                        faults["request"] = b""
                        break
                    if faults["answer"] and received.startswith(faults["answer"]):
                        losing.set()
                    await server.send(received)
                tasks.cancel_scope.cancel()

    async def serve_quietly(client: ByteStream) -> None:
        try:
            await serve(client)
        except* (anyio.BrokenResourceError, anyio.EndOfStream, OSError):
            pass  # either side may hang up at any time

    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - anyio's, not Django's
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve_quietly)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()
    assert not any(faults.values()), "no connection was cut"
