"""HTTP client for LFS servers and their storage: each request is explicit, nothing implied.

No redirect is followed, nothing is decompressed, no cookie is kept, and a connection is made only
to a permitted address: the check is of the address that is then used.
"""

import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
import yarl
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from asyncbuild.domain.errors import Outage, Reject, Retry
from asyncbuild.domain.reachable import Reach
from asyncbuild.git.formats.error_classes import quote
from asyncbuild.git.outbound import PrivateAddress, check_literal, proxy_of

PARALLEL: Final = 8
_CONNECT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Web:
    """Sends requests, over at most `PARALLEL` connections."""

    direct: aiohttp.ClientSession
    by_proxy: aiohttp.ClientSession
    reach: Reach

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        doing: str,
        body: bytes | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and yield its answer, for any status.

        Args:
            method: Method of HTTP.
            url: A result of `lfs_answers.usable_url`: it is sent byte for byte.
            headers: A result of `lfs_answers.usable_headers`.
            doing: What the request is for, for people.
            body: Body of the request.

        Raises:
            Outage: The server cannot be reached, or does not answer.
            Reject: Its address is not permitted.
            Retry: Its answer is not HTTP, or is compressed against the request.
        """
        proxy = proxy_of(url)
        session = self.direct if proxy is None else self.by_proxy
        async with AsyncExitStack() as stack:
            with _errors(doing):
                check_literal(self.reach, url)
                answer = await stack.enter_async_context(
                    session.request(
                        method,
                        yarl.URL(url, encoded=True),
                        headers={**headers, "Accept-Encoding": "identity"},
                        data=body,
                        allow_redirects=False,
                        proxy=proxy,
                    )
                )
            coding = answer.headers.get("Content-Encoding", "identity").strip().lower()
            if coding not in {"", "identity"}:
                raise Retry(f"{doing}: the answer is compressed, which was not asked for")
            yield answer


@asynccontextmanager
async def open_web(reach: Reach, *, silence_seconds: float) -> AsyncIterator[Web]:
    """Open connections to addresses that `reach` permits.

    Args:
        reach: Permitted addresses.
        silence_seconds: Longest silence of a server.
    """
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence_seconds
    )
    async with AsyncExitStack() as stack:
        sessions = [
            await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=PARALLEL, resolver=resolver),
                    timeout=timeout,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                )
            )
            # A proxy is this machine's own way out, and looks hosts up by itself.
            for resolver in (_Resolver(reach), ThreadedResolver())
        ]
        yield Web(sessions[0], sessions[1], reach)


class _Resolver(ThreadedResolver):
    """Resolver that returns only permitted addresses of a host."""

    def __init__(self, reach: Reach) -> None:
        super().__init__()
        self._reach = reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        permitted = [each for each in found if self._reach.permits(host, port, each["host"])]
        if found and not permitted:
            raise PrivateAddress(host)
        return permitted


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    """Classify errors of aiohttp; they hold URL and headers, so are neither quoted nor chained."""
    try:
        yield
    except PrivateAddress as error:
        raise Reject(f"{doing}: {error.reason}", remedy=error.remedy) from None
    except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError) as error:
        raise _outage(doing, quote(str(error))) from None
    except (aiohttp.ClientConnectionError, TimeoutError):
        raise _outage(doing, "no answer in time, or the connection broke") from None
    except (aiohttp.ClientError, ValueError):
        raise Retry(f"{doing}: what the server named or answered cannot be read") from None


def _outage(doing: str, why: str) -> Outage:
    return Outage(f"{doing}: {why}", remedy="if it lasts, check the way to the LFS server")
