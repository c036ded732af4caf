"""A task that fetches a commit and writes a seed, in a process that is killed at a chosen request.

It is forked from a server that has imported everything.
"""

import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import aiohttp
import anyio
from aiohttp import web
from support.mirrors import KEY, MAIN, SECRET, TOKEN, fixed, repository
from support.proxy import pass_on
from support.wait import PATIENCE_SECONDS

from asyncbuild import config
from asyncbuild.aws.session import Aws
from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.events.seed_events import SeedWritten
from asyncbuild.forges.codecommit_login import AwsCredentials
from asyncbuild.forges.remotes import Remotes
from asyncbuild.git.mirrors.cache import open_mirrors
from asyncbuild.git.seeds.mirror_seeds import CONNECTIONS, open_seeds
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY
from asyncbuild.runtime.emit import subscribed

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def start(settings: dict[str, Any], commit: str) -> ForkServerProcess:
    """Start a task that opens a commit of `web` and ends when its seed is written."""
    process = _context.Process(target=_run, args=(settings, commit))
    process.start()
    return process


def _run(settings: dict[str, Any], commit: str) -> None:
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - the process's own
    os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    anyio.run(_work, settings, commit)


async def _work(own: dict[str, Any], commit: str) -> None:
    settings = config.load(None, own)
    remotes = Remotes(settings.git, fixed(AwsCredentials(KEY, SECRET, TOKEN)))
    written = anyio.Event()

    def hear(told: Emitted) -> None:
        if isinstance(told.event, SeedWritten):
            written.set()

    with subscribed(hear):
        async with (
            Aws(settings).open_s3(pool=CONNECTIONS) as client,
            open_seeds(settings.git, settings.storage, client) as seeds,
            open_mirrors(settings.git, remotes, seeds=seeds) as mirrors,
        ):
            async with mirrors.open(repository(), ref=MAIN, commit=commit):
                pass
            with anyio.move_on_after(PATIENCE_SECONDS):
                await written.wait()


@dataclass
class SeedKiller:
    """A proxy in front of S3 that kills a process at its first request of a kind.

    Attributes:
        server: Endpoint of the server.
        method: Method of the request.
        ending: Ending of its key.
        acted: Let the server act on the request first.
        victim: The process; None: no process is killed.
    """

    server: str
    method: str
    ending: str
    acted: bool = False
    victim: ForkServerProcess | None = None
    killed: anyio.Event = field(default_factory=anyio.Event)

    async def handle(self, client: aiohttp.ClientSession, request: web.Request) -> web.Response:
        """Pass a request on, or kill with it."""
        try:
            body = await request.read()
        except ConnectionError:
            return web.Response(status=500)
        aimed = request.method == self.method and request.path.endswith(self.ending)
        if self.victim is None or not aimed or self.killed.is_set():
            return await pass_on(client, self.server, request, body)
        if self.acted:
            await pass_on(client, self.server, request, body)
        assert self.victim.pid is not None
        os.kill(self.victim.pid, signal.SIGKILL)
        self.killed.set()
        return web.Response(status=500)


def settings_of(git: Any, storage: Any, endpoint_url: str, cache: Path) -> dict[str, Any]:  # noqa: ANN401 - sections
    """Return the settings of a killed task, as a file has them."""
    return {
        "aws": {"region": "eu-west-1", "endpoint_url": endpoint_url, "max_tries": 1},
        "git": git.model_dump(mode="json") | {"cache_directory": str(cache)},
        "storage": storage.model_dump(mode="json", exclude_none=True),
    }
