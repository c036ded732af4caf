"""A git server over smart HTTP that counts what each repository costs it, in a process of its own.

    python -m support.counting_git DIRECTORY

Serves the repositories `DIRECTORY/NAME`, prints its address, and runs until it is ended. The bytes
of `git http-backend` go from its pipe to the socket inside the kernel, so the process takes little
time from those that are measured.

    GET /-/counts       counts since the last reset, by repository
    DELETE /-/counts    reset
"""

import contextlib
import gzip
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, Final, Self

import orjson
from support.server_process import open_server_process

COUNTS: Final = "/-/counts"
_UPLOAD_PACK: Final = "/git-upload-pack"
_SPLICE_BYTES: Final = 1024 * 1024
_HEAD_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class GitCounts:
    """Counts of one repository, or of several.

    Attributes:
        clones: Packs that were asked for without a commit that the client has.
        fetches: Requests that name commits that the client has; a fetch may take several.
        listings: Times that refs were listed.
        nbytes: Bytes of all answers.
    """

    clones: int = 0
    fetches: int = 0
    listings: int = 0
    nbytes: int = 0

    def __add__(self, other: Self) -> "GitCounts":
        return GitCounts(
            self.clones + other.clones,
            self.fetches + other.fetches,
            self.listings + other.listings,
            self.nbytes + other.nbytes,
        )


@dataclass(frozen=True, slots=True)
class CountingGit:
    """A running server."""

    url: str
    pid: int

    @property
    def remote(self) -> str:
        """Return a value for `git.remote`."""
        return f"{self.url}/{{repository}}"

    def counts(self) -> Mapping[str, GitCounts]:
        """Return the counts by repository; blocks."""
        with urllib.request.urlopen(self.url + COUNTS) as answer:  # noqa: S310 - on loopback
            found = orjson.loads(answer.read())
        return {name: GitCounts(**counts) for name, counts in found.items()}

    def total(self) -> GitCounts:
        """Return the counts of all repositories together; blocks."""
        return sum(self.counts().values(), GitCounts())

    def reset(self) -> None:
        """Begin to count from zero; blocks."""
        request = urllib.request.Request(self.url + COUNTS, method="DELETE")  # noqa: S310 - on loopback
        with urllib.request.urlopen(request):  # noqa: S310 - the same
            pass


@contextmanager
def open_counting_git(directory: Path) -> Iterator[CountingGit]:
    """Serve the repositories of a directory while inside."""
    with open_server_process("support.counting_git", str(directory)) as process:
        yield CountingGit(process.url, process.pid)


def note(counts: GitCounts, path: str, body: bytes) -> None:
    """Count one request.

    A client with commits names at least one (`have`). One without asks for its pack by `done`, in
    protocol v0 and v2 alike; a request before it only learns where a shallow history ends.
    """
    if not path.endswith(_UPLOAD_PACK):
        counts.listings += 1
        return
    lines = [line.rstrip(b"\n") for line in iter_pkt_lines(body)]
    if b"command=ls-refs" in lines:
        counts.listings += 1
    elif any(line.startswith(b"have ") for line in lines):
        counts.fetches += 1
    elif b"done" in lines:
        counts.clones += 1


def iter_pkt_lines(body: bytes) -> Iterator[bytes]:
    """Yield the contents of pkt-lines (gitprotocol-common(5)); flush and delimiters are empty."""
    place = 0
    while place + 4 <= len(body):
        length = int(body[place : place + 4], 16)
        yield body[place + 4 : place + max(length, 4)]
        place += max(length, 4)


class _Handler(BaseHTTPRequestHandler):
    """Answer requests; each connection is closed after its answer, which so needs no length."""

    root: ClassVar[Path]
    counts: ClassVar[dict[str, GitCounts]] = {}
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_GET(self) -> None:
        """Answer a listing of refs, or the counts."""
        self._answer(b"")

    def do_DELETE(self) -> None:
        """Reset the counts."""
        with self.lock:
            self.counts.clear()
        self._send(b"")

    def do_POST(self) -> None:
        """Answer a request for a pack."""
        body = self._read_body()
        self._answer(gzip.decompress(body) if "gzip" in self._header("Content-Encoding") else body)

    def log_message(self, *_given: object) -> None:
        """Log nothing."""

    def _header(self, name: str) -> str:
        return self.headers.get(name, "")

    def _read_body(self) -> bytes:
        """Return the body, which git sends in chunks where it is larger than a buffer of its."""
        if "chunked" not in self._header("Transfer-Encoding"):
            return self.rfile.read(int(self._header("Content-Length") or 0))
        body = b""
        while length := int(self.rfile.readline(), 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        if path == COUNTS:
            with self.lock:
                self._send(orjson.dumps(self.counts))
            return
        name = path.removesuffix("/info/refs").removesuffix(_UPLOAD_PACK).strip("/")
        with self.lock:
            note(self.counts.setdefault(name, GitCounts()), path, body)
        nbytes = self._run_backend(path, query, body)
        with self.lock:
            self.counts.setdefault(name, GitCounts()).nbytes += nbytes

    def _send(self, content: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content)
        self.close_connection = True

    def _run_backend(self, path: str, query: str, body: bytes) -> int:
        """Pass on the answer of `git http-backend`; return its bytes."""
        self.close_connection = True
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self._header("Content-Type"),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self._header("Git-Protocol"),
        }
        with subprocess.Popen(
            ["git", "http-backend"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                with contextlib.suppress(BrokenPipeError):  # it may not read its input
                    process.stdin.write(body)
                process.stdin.close()
                nbytes = self._relay(process.stdout.fileno())
                process.wait()  # it waits for its own children, and so their time is counted
            except ConnectionError:  # the client has gone
                return 0
            else:
                return nbytes
            finally:
                process.kill()

    def _relay(self, pipe: int) -> int:
        head = b""
        while b"\r\n\r\n" not in head and (chunk := os.read(pipe, _HEAD_BYTES)):
            head += chunk
        headers, _, content = head.partition(b"\r\n\r\n")
        lines = [line for line in headers.split(b"\r\n") if line]
        status = next((line[8:] for line in lines if line.startswith(b"Status: ")), b"200 OK")
        kept = [line for line in lines if not line.startswith((b"Status: ", b"Content-Length: "))]
        self.connection.sendall(
            b"\r\n".join([b"HTTP/1.1 " + status, b"Connection: close", *kept, b"", content])
        )
        sent = len(content)
        while nbytes := os.splice(pipe, self.connection.fileno(), _SPLICE_BYTES):
            sent += nbytes
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
        return sent


def main(directory: str) -> None:
    """Serve until the process is ended."""
    _Handler.root = Path(directory)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
