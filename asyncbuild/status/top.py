"""Command `asyncbuild top`: the page's contents on a terminal, from a local or remote service."""

import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import aiohttp
import anyio
from anyio.abc import TaskStatus
from rich.console import Console
from rich.live import Live

from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import StageError
from asyncbuild.status import remote
from asyncbuild.status.schema import Status
from asyncbuild.status.screen import draw

_ENDS = frozenset(b"qQ\x03\x04")  # with Ctrl-C and Ctrl-D, as bytes
_ALL_LINES = 1_000


async def run(
    address: str, settings: Settings | None = None, *, every_seconds: float, once: bool
) -> None:
    """Show the service at `address` until `q` or SIGINT, or once.

    Args:
        address: `HOST:PORT` or a URL; empty for `status.listen`.
        settings: Settings of the service, which name its token; None if they are not known.
        every_seconds: Pause between two requests.
        once: Print the status and end.

    Raises:
        Retry: Nothing answers there at the first try. Later failures are shown, and tried again.
        Reject: The answer is not from asyncbuild.
    """
    console = Console(highlight=False)
    async with remote.open_session(settings) as session:
        url = remote.document_url(address, settings.status if settings else None)
        status = await remote.fetch(session, url)
        if once or not console.is_terminal:
            console.print(draw(status, lines=_ALL_LINES, width=console.width))
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_end_on_signal, tasks.cancel_scope)
            await tasks.start(_end_on_key, tasks.cancel_scope)
            with Live(console=console, screen=True, auto_refresh=False) as live:
                await _keep_fresh(live, session, url, status, every_seconds)


async def _keep_fresh(
    live: Live, session: aiohttp.ClientSession, url: str, status: Status, every_seconds: float
) -> None:
    fault = ""
    while True:
        console = live.console
        shown = draw(status, lines=console.height, width=console.width, fault=fault)
        live.update(shown, refresh=True)
        await anyio.sleep(every_seconds)
        try:
            status, fault = await remote.fetch(session, url), ""
        except StageError as error:
            fault = error.reason


async def _end_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def _end_on_key(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    if not sys.stdin.isatty():
        task_status.started()
        return
    with _keys_one_by_one(sys.stdin.fileno()) as descriptor:
        task_status.started()
        async for keys in _iter_keys(descriptor):
            if not keys or _ENDS.intersection(keys):
                scope.cancel()
                return


@contextmanager
def _keys_one_by_one(descriptor: int) -> Iterator[int]:
    """Make a terminal return each key at once and show none; restore it afterwards."""
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def _iter_keys(descriptor: int) -> AsyncIterator[bytes]:
    while True:
        await anyio.wait_readable(descriptor)
        yield os.read(descriptor, 64)
