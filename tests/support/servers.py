"""The servers of `asyncbuild.local.servers.children` for tests: one each for the whole session.

They run on an event loop of their own in a thread, so that tests of any kind can use them: plain
ones, asynchronous ones whose loop ends with the test, and those that start processes.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import aioboto3
from aiobotocore.config import AioConfig
from anyio.from_thread import start_blocking_portal

from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY, LocalServer

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

REGION: Final = "eu-west-1"


@contextmanager
def served(
    open_server: Callable[[], AbstractAsyncContextManager[LocalServer]],
) -> Iterator[LocalServer]:
    """Run a server in the background of a synchronous block."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_server()) as server,
    ):
        yield server


@asynccontextmanager
async def open_s3_client(server: LocalServer, **config: Any) -> "AsyncIterator[S3Client]":  # noqa: ANN401 - AioConfig's own
    """Open a client of `server` with AioConfig's `config`; it tries each call once by default."""
    once = {"retries": {"total_max_attempts": 1}}
    session = aioboto3.Session(
        aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION
    )
    async with session.client(
        "s3", endpoint_url=server.endpoint_url, config=AioConfig(**(once | config))
    ) as client:
        yield client
