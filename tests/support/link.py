"""A link of so many bytes a second to a server on 127.0.0.1, in a process of its own.

    python -m support.link http://127.0.0.1:8333 40e6

Prints its address, then serves until it is ended. Each direction has one token bucket, which all
connections share. Two threads serve a connection: the process takes little time from those that
are measured.
"""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from support.server_process import ServerProcess, open_server_process
from support.token_bucket import TokenBucket

READ_BYTES: Final = 256 * 1024
BURST_BYTES: Final = 256 * 1024
_LEAST_PAUSE_SECONDS: Final = 0.001  # a shorter one takes longer than it should


class _Way:
    """One direction of the link."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bucket = TokenBucket(bytes_per_second, BURST_BYTES)
        self._lock = threading.Lock()

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on everything, until either side ends."""
        buffer = bytearray(READ_BYTES)
        view = memoryview(buffer)
        with contextlib.suppress(OSError):
            while nbytes := source.recv_into(buffer):
                with self._lock:
                    seconds = self._bucket.take(nbytes, time.monotonic())
                if seconds > _LEAST_PAUSE_SECONDS:
                    time.sleep(seconds)
                target.sendall(view[:nbytes])
        for end, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
            with contextlib.suppress(OSError):
                end.shutdown(how)


def _serve(client: socket.socket, server: tuple[str, int], up: _Way, down: _Way) -> None:
    with client, socket.create_connection(server) as upstream:
        for end in (client, upstream):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asking = threading.Thread(target=up.pump, args=(client, upstream), daemon=True)
        asking.start()
        down.pump(upstream, client)
        asking.join()


def main(endpoint: str, bytes_per_second: float) -> None:
    """Serve until the process is ended."""
    host, port = endpoint.removeprefix("http://").split(":")
    up, down = _Way(bytes_per_second), _Way(bytes_per_second)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            client, _ = listener.accept()
            given = (client, (host, int(port)), up, down)
            threading.Thread(target=_serve, args=given, daemon=True).start()


@contextmanager
def open_link(endpoint: str, bytes_per_second: float) -> Iterator[ServerProcess]:
    """Run a link to a server while inside.

    Args:
        endpoint: Server, as `http://HOST:PORT`.
        bytes_per_second: Rate of each direction.
    """
    with open_server_process("support.link", endpoint, str(bytes_per_second)) as link:
        yield link


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
