"""Common parts of the stand-ins: a port on loopback, counted calls, ordered failures, news."""

import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
from aiohttp import web

from asyncbuild.domain.errors import Fatal
from asyncbuild.local.servers.aws_json import AwsError
from asyncbuild.runtime.bell import Bell

REGION = "eu-west-1"
ACCOUNT = "123456789012"
Start = TypeVar("Start")


@dataclass(slots=True)
class Standin(Generic[Start]):
    """State that every stand-in has, with the switches for tests.

    `started` holds every accepted start, oldest first; `running_limit` is how many may run at once;
    `fail_next` makes coming calls fail.
    """

    clock: Callable[[], float] = time.time
    endpoint_url: str = ""
    running_limit: int | None = None
    started: list[Start] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    _failures: dict[str, deque[AwsError]] = field(default_factory=dict)
    _news: Bell = field(default_factory=Bell)

    def fail_next(self, operation: str, error: AwsError, *, times: int = 1) -> None:
        """Let the next `times` calls of `operation` fail with `error`.

        Args:
            operation: Name of the operation.
            error: Error of these calls.
            times: Number of calls.
        """
        self._failures.setdefault(operation, deque()).extend([error] * times)

    async def wait_started(self, wanted: Callable[[Start], bool]) -> Start:
        """Return the first start that is `wanted`, as soon as there is one."""
        while True:
            for started in self.started:
                if wanted(started):
                    return started
            await self._news.wait()

    def note_call(self, operation: str) -> None:
        """Count a call.

        Raises:
            AwsError: `fail_next` ordered a failure of this call.
        """
        self.calls[operation] += 1
        failures = self._failures.get(operation)
        if failures:
            raise failures.popleft()

    def tell_started(self) -> None:
        """Wake the tasks that wait for a start."""
        self._news.ring()


def no_port(error: OSError) -> Fatal:
    """Return the error that no port of 127.0.0.1 can be listened at, with its reason."""
    return Fatal(
        f"no free port on 127.0.0.1: {error.strerror}",
        remedy="end what takes them (ss -ltn lists them), or widen net.ipv4.ip_local_port_range; "
        "in a container the interface lo must be up",
    )


@asynccontextmanager
async def open_site(application: web.Application, *, port: int = 0) -> AsyncIterator[str]:
    """Serve on 127.0.0.1 while inside; port 0 takes a free one. Yields the endpoint's URL."""
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            raise no_port(error) from error
        address: Any = runner.addresses[0]
        yield f"http://127.0.0.1:{address[1]}"
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
