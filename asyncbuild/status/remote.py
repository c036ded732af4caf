"""Client for the status document of a service that runs here or elsewhere, by HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from asyncbuild.aws.session import Aws
from asyncbuild.config.sections import StatusSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import Reject, Retry
from asyncbuild.forges.keyring import read_secret
from asyncbuild.status.document import parse
from asyncbuild.status.schema import Status

TIMEOUT_SECONDS: Final = 5.0


def document_url(address: str, settings: StatusSettings | None) -> str:
    """Return the URL of a service's status document.

    Args:
        address: `HOST:PORT` or the page's URL; empty for `status.listen`.
        settings: Say where the service of this machine listens; not read if there is an address.

    Raises:
        Reject: It is not an address, or there is none because `status.listen` is off.
    """
    if not address and settings and settings.listen != "off":
        host, port = settings.local_address
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if address in {"", "off"}:
        raise Reject("status.listen is off", remedy="name an address, or set status.listen")
    url = address if "://" in address else f"http://{address}"
    if urlsplit(url).scheme not in {"http", "https"}:
        raise Reject(f"{address} is not an address", remedy="write http://HOST:PORT/ or HOST:PORT")
    return url.removesuffix("/").removesuffix("/status.json") + "/status.json"


@asynccontextmanager
async def open_session(
    settings: Settings | None, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session for `fetch`, with the token that `status.token` names.

    Args:
        settings: Settings of the service; None if only its address is known.
        timeout_seconds: Time-out of one request.

    Raises:
        Fatal: The secret is missing.
        StageError: Secrets Manager refuses, or cannot be reached.
    """
    headers = {}
    if settings and settings.status.token:
        token = await read_secret(settings.status.token, Aws(settings))
        headers["Authorization"] = f"Bearer {token.strip()}"
    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        yield session


async def fetch(session: aiohttp.ClientSession, url: str) -> Status:
    """Return the status of the service at `url`.

    Raises:
        Retry: Nothing answers there.
        Reject: The answer is not from asyncbuild.
    """
    try:
        async with session.get(url) as answer:
            if answer.status != 200:  # noqa: PLR2004 - OK, RFC 9110
                raise Reject(f"{url} answers {answer.status} {answer.reason}")
            return parse(await answer.read())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Retry(
            f"no answer from {url}: {str(error) or 'it took too long'}",
            remedy="name the address that the service logged as status.listening",
        ) from error
