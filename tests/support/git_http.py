"""CodeCommit's git over HTTP, as far as it is documented: `git http-backend` behind a proxy.

The proxy checks the password by computing it with botocore's own signer, and can misbehave:
speak protocol v0 alone, answer 429, stall or cut a pack.
"""

import base64
import binascii
import contextlib
import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.abc
from aiohttp import web
from anyio.streams.buffered import BufferedByteReceiveStream
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from support.lfs import LfsServer
from support.signals import send_signal

LIFETIME = timedelta(minutes=15)
_PREFIX = "/v1/repos/"
_CHUNK = 64 * 1024


@dataclass
class Behaviour:
    """Behaviour of the server, which tests change while it runs."""

    protocol_v0: bool = True  # CodeCommit shows no sign of v2
    status: int | None = None  # status of every answer
    text: str = ""
    stall_after_bytes: int | None = None  # of a pack
    cut_after_bytes: int | None = None
    now: datetime | None = None


@dataclass
class GitServer:
    """A running server.

    Attributes:
        root: Repositories are `root/NAME` with or without `.git`.
        keys: Access key → (secret key, session token); empty needs no login.
        names: Access key → names of the repositories it may pull; None for all.
        tokens: User → token, as GitHub, GitLab and Bitbucket take them; instead of `keys`.
        prefix: Part of the path before a repository's name.
        connections: Repository → times its refs were listed, as each fetch does once.
        stalled: Set while a pack is being held back.
        lfs: Answers below `NAME.git/info/lfs` and `/lfs/`.
    """

    root: Path
    region: str
    keys: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    prefix: str = _PREFIX
    behaviour: Behaviour = field(default_factory=Behaviour)
    port: int = 0
    connections: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    stalled: anyio.Event = field(default_factory=anyio.Event)
    resume: anyio.Event = field(default_factory=anyio.Event)
    lfs: LfsServer = field(default_factory=LfsServer)

    @property
    def url(self) -> str:
        """Return the address without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def template(self) -> str:
        """Return a value for `git.remote`."""
        return f"{self.url}{_PREFIX}{{repository}}"

    def break_off(self) -> None:
        """Cut the packs that are held back."""
        self.behaviour.cut_after_bytes = 0
        self.resume.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.path.startswith("/lfs/"):
            return await self.lfs.download(request)
        path, _, api = request.path.removeprefix(self.prefix).partition(".git/info/lfs")
        name = path.removesuffix("/info/refs").removesuffix("/git-upload-pack")
        if self.behaviour.status is not None:
            return web.Response(status=self.behaviour.status, text=self.behaviour.text)
        reason = self._refuse(request, name)
        if reason is not None:
            self.refused.append(reason)
            return web.Response(status=401 if self.tokens else 403, text=reason)
        if api:
            return await self.lfs.batch(request)
        if request.path.endswith("/info/refs"):
            self.connections[name] += 1
        return await self._backend(request)

    def _refuse(self, request: web.Request, name: str) -> str | None:  # noqa: PLR0911 - a reason each
        if not self.keys and not self.tokens:
            return None
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(encoded).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "no basic authentication"
        if self.tokens:
            return None if self.tokens.get(user) == password else "wrong token"
        key, _, token = user.partition("%")
        if scheme != "Basic" or key not in self.keys:
            return "unknown access key"
        secret, wanted_token = self.keys[key]
        if (token or None) != wanted_token:
            return "wrong session token"
        stamp = password.split("Z", 1)[0]
        age = (self.behaviour.now or datetime.now(UTC)) - _parse(stamp)
        if abs(age) > LIFETIME:
            return "expired"
        if password != sign(key, secret, self.region, f"{_PREFIX}{name}", stamp):
            return "wrong signature"
        if key in self.names and name not in self.names[key]:
            return "not allowed"
        return None

    async def _backend(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()  # aiohttp has inflated it: no HTTP_CONTENT_ENCODING below
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "PATH_INFO": "/" + request.path.removeprefix(self.prefix),
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
        }
        if not self.behaviour.protocol_v0 and "Git-Protocol" in request.headers:
            environment["GIT_PROTOCOL"] = request.headers["Git-Protocol"]
        process = await anyio.open_process(
            ["git", "http-backend"], stderr=subprocess.DEVNULL, env=environment
        )
        async with process:
            try:
                return await self._relay(request, process, body)
            finally:
                send_signal(process, signal.SIGKILL)

    async def _relay(
        self, request: web.Request, process: anyio.abc.Process, body: bytes
    ) -> web.StreamResponse:
        assert process.stdin
        assert process.stdout
        with contextlib.suppress(anyio.BrokenResourceError):  # a program may not read its input
            await process.stdin.send(body)
        await process.stdin.aclose()
        stdout = BufferedByteReceiveStream(process.stdout)
        head = (await stdout.receive_until(b"\r\n\r\n", _CHUNK)).decode()
        headers = dict(line.split(": ", 1) for line in head.strip().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        headers.pop("Content-Length", None)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        sent = 0
        pack = request.path.endswith("/git-upload-pack")
        with contextlib.suppress(anyio.EndOfStream, ConnectionError):
            while True:
                chunk = await stdout.receive(_CHUNK)
                if pack:
                    await self._misbehave(request, sent + len(chunk))
                await response.write(chunk)
                sent += len(chunk)
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    async def _misbehave(self, request: web.Request, sent: int) -> None:
        stall = self.behaviour.stall_after_bytes
        if stall is not None and sent > stall:
            self.stalled.set()
            await self.resume.wait()
        cut = self.behaviour.cut_after_bytes
        if cut is not None and sent > cut and request.transport is not None:
            request.transport.abort()


def sign(key: str, secret: str, region: str, path: str, stamp: str) -> str:
    """Return the password of aws-cli's `codecommit credential-helper`, by botocore's signer."""
    request = AWSRequest(method="GIT", url=f"http://127.0.0.1{path}")
    request.context["timestamp"] = stamp
    signer = SigV4Auth(Credentials(key, secret), "codecommit", region)
    canonical = f"GIT\n{path}\n\nhost:127.0.0.1\n\nhost\n"
    text = signer.string_to_sign(request, canonical)
    return f"{stamp}Z{signer.signature(text, request)}"


def _parse(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


@asynccontextmanager
async def open_git_server(
    root: Path,
    *,
    region: str = "eu-west-1",
    keys: Mapping[str, tuple[str, str | None]] | None = None,
    names: Mapping[str, frozenset[str]] | None = None,
    tokens: Mapping[str, str] | None = None,
    prefix: str = _PREFIX,
) -> AsyncIterator[GitServer]:
    """Serve the repositories below `root` on a free port of 127.0.0.1."""
    server = GitServer(root, region, keys or {}, names or {}, tokens or {}, prefix)
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        server.resume.set()
        server.lfs.resume.set()
        await runner.cleanup()
