"""Processes that make an archive, killed at a chosen request to S3.

They are forked from a server that has imported everything, so that a hundred of them cost little.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess

import aiohttp
import anyio
from aiohttp import web
from anyio import to_thread
from support.proxy import open_proxy, pass_on
from support.servers import REGION
from support.wait import PATIENCE_SECONDS

from asyncbuild.commands import archive as export
from asyncbuild.config import AwsSettings, Settings, StorageSettings
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


@dataclass(frozen=True, slots=True)
class Errand:
    """Arguments of `asyncbuild archive --base`."""

    endpoint_url: str
    repository: str
    commit: str
    output: str
    base: str
    scratch: str  # a killed process leaves its temporary directory; the next one removes it


def _run(errand: Errand) -> None:
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - the process's own
    os.environ["TMPDIR"], tempfile.tempdir = errand.scratch, None
    os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    settings = Settings(
        aws=AwsSettings(region=REGION, endpoint_url=errand.endpoint_url, max_tries=2),
        storage=StorageSettings(addressing_style="path"),
    )
    anyio.run(
        export.run,
        settings,
        export.ArchiveRequest(errand.repository, errand.commit, errand.output, errand.base),
        backend="asyncio",
    )


def start(errand: Errand) -> ForkServerProcess:
    """Start a process for the errand."""
    process = _context.Process(target=_run, args=(errand,))
    process.start()
    return process


async def wait(process: ForkServerProcess, *, seconds: float = 3 * PATIENCE_SECONDS) -> int:
    """Return the exit code of the process; negative if a signal ended it."""
    await to_thread.run_sync(process.join, seconds)
    code = process.exitcode
    assert code is not None, "the process did not end"
    return code


@dataclass
class KillingProxy:
    """A proxy in front of an S3 server that kills its client at the request number `at`.

    Attributes:
        at: From 1; 0 kills no process.
        acted: Let the server act on that request first; its answer is not received.
    """

    server: str
    port: int = 0
    at: int = 0
    acted: bool = False
    victim: ForkServerProcess | None = None
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def endpoint_url(self) -> str:
        """Return the endpoint at which clients reach the server."""
        return f"http://127.0.0.1:{self.port}"

    def aim(self, at: int, *, acted: bool) -> None:
        """Count from zero, for the next process."""
        self.at, self.acted, self.victim = at, acted, None
        self.seen = Counter()

    async def handle(self, client: aiohttp.ClientSession, request: web.Request) -> web.Response:
        """Pass a request on, or kill the client with it."""
        seen = self.seen
        try:
            body = await request.read()
        except ConnectionError:  # its process was killed
            return web.Response(status=500)
        if seen is not self.seen:  # another process is counted by now
            return web.Response(status=500)
        self.seen[_name_of(request)] += 1
        last = self.seen.total() == self.at
        if last and not self.acted:
            return self._kill()
        if self.at and self.seen.total() > self.at:  # the process is dead
            return web.Response(status=500)
        answer = await pass_on(client, self.server, request, body)
        return self._kill() if last else answer

    def _kill(self) -> web.Response:
        assert self.victim is not None
        assert self.victim.pid is not None
        os.kill(self.victim.pid, signal.SIGKILL)
        return web.Response(status=500)


def _name_of(request: web.Request) -> str:
    if "x-amz-copy-source" in request.headers:
        return "UploadPartCopy"
    if request.method == "POST":
        return "CreateMultipartUpload" if "uploads" in request.query else "CompleteMultipartUpload"
    return {"PUT": "UploadPart", "GET": "GetObject", "HEAD": "HeadObject"}[request.method]


@asynccontextmanager
async def open_killing_proxy(server: str) -> AsyncIterator[KillingProxy]:
    """Serve while inside."""
    proxy = KillingProxy(server)
    async with open_proxy(proxy.handle) as (proxy.port,):
        yield proxy
