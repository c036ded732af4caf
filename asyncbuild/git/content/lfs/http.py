"""HTTP to LFS servers and to where they keep contents: one request at a time, nothing implied.

No redirect is followed, nothing is decompressed, no cookie is kept, and a connection is made only
to an address that may be reached: that is checked of the address that is then used.
"""

import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
import yarl
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from asyncbuild.domain.errors import Outage, Reject, Retry
from asyncbuild.domain.reachable import Reach, is_address
from asyncbuild.git.formats.error_classes import quote
from asyncbuild.git.formats.lfs_answers import origin_of

PARALLEL: Final = 8
_CONNECT_SECONDS: Final = 30.0
_SHOWN_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Web:
    """Sends requests, at most 8 at a time."""

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
        """Send a request and lend its answer, whatever its status.

        Args:
            method: Of HTTP.
            url: One of `answers.usable_url`: it is sent byte for byte.
            headers: As `answers.usable_headers` has them.
            doing: What this is, for people.
            body: What is sent.

        Raises:
            Outage: the server cannot be reached, or does not answer.
            Reject: its address is none that may be reached.
            Retry: its answer is not HTTP, or is compressed though that was not asked for.
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
    """Open connections to what `reach` permits; a server may be silent for so long."""
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
    """Gives the addresses of a host that may be reached, and no others."""

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


class PrivateAddress(Reject):
    """A host is not connected to, because of its address."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host[:_SHOWN_MOST]!a} has a private address, and the configuration does not name it",
            remedy="if contents or submodules may come from there, add the host or its network to "
            "git.internal",
        )


def check_literal(reach: Reach, url: str) -> None:
    """Refuse a URL whose host is an address that may not be reached: it is not looked up.

    Raises:
        PrivateAddress: it is one.
    """
    origin = origin_of(url)
    if is_address(origin.host) and not reach.permits(origin.host, origin.port, origin.host):
        raise PrivateAddress(origin.host)


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    """Errors of aiohttp know the request's URL and headers: they are neither quoted nor chained."""
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


def proxy_of(url: str) -> str | None:
    """The proxy for a URL, as git has it: `https_proxy`, `no_proxy` and their like."""
    origin = origin_of(url)
    if urllib.request.proxy_bypass(origin.host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(origin.scheme) or proxies.get("all")
