"""A link of so many bytes a second to a server, shared by all connections; in its own process.

    python bench/slow_link.py http://127.0.0.1:8333 40e6

Prints its address, then serves until it is ended. What the server answers is not slowed down.
"""

import contextlib
import sys
from functools import partial

import anyio
from anyio.abc import SocketAttribute, SocketStream

_READ_BYTES = 65_536
_LEAST_PAUSE_SECONDS = 0.005  # timers are no more precise than that


class Link:
    """A link that passes bytes on at a limited rate."""

    def __init__(self, endpoint: str, bytes_per_second: float) -> None:
        host, port = endpoint.removeprefix("http://").split(":")
        self._server = (host, int(port))
        self._bytes_per_second = bytes_per_second
        self._free_at = 0.0

    async def serve(self, client: SocketStream) -> None:
        """Serve one connection."""
        async with (
            client,
            await anyio.connect_tcp(*self._server) as server,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(partial(self._pump, client, server, slow=True))
            tasks.start_soon(partial(self._pump, server, client, slow=False))

    async def _pump(self, source: SocketStream, target: SocketStream, *, slow: bool) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                data = await source.receive(_READ_BYTES)
                if slow:
                    now = anyio.current_time()
                    self._free_at = max(now, self._free_at) + len(data) / self._bytes_per_second
                    if self._free_at - now > _LEAST_PAUSE_SECONDS:
                        await anyio.sleep(self._free_at - now)
                await target.send(data)
        with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            await target.send_eof()


async def _main(endpoint: str, bytes_per_second: float) -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra_attributes[SocketAttribute.local_port]()
    print(f"http://127.0.0.1:{port}", flush=True)
    await listener.serve(Link(endpoint, bytes_per_second).serve)


if __name__ == "__main__":
    anyio.run(_main, sys.argv[1], float(sys.argv[2]))
