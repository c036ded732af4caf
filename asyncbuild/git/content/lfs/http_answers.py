"""HTTP answers of LFS servers and stores: errors by status, short bodies, redirects."""

from datetime import UTC, datetime
from typing import Final

import aiohttp
import anyio

from asyncbuild.domain.errors import Busy, Outage, Reject, Retry, StageError
from asyncbuild.domain.retry_after import parse_retry_after
from asyncbuild.git.content.lfs.lfs_server import LfsServer
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.git.formats.lfs_answers import (
    message_of,
    origin_of,
    usable_url,
)

HOPS_MOST: Final = 5
OK: Final = 200
PARTIAL: Final = 206
NO_RANGE: Final = 416
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REFUSED: Final = frozenset({401, 403})
_ANSWER_BYTES_MOST: Final = 2 * 1024 * 1024


def refusal_of(
    server: LfsServer, doing: str, url: str, answer: aiohttp.ClientResponse, text: bytes
) -> StageError:
    """Return the error for a status that is not a success; it quotes only the LFS server's words.

    Args:
        server: The LFS server.
        doing: What the request was for, for people.
        url: URL of the request.
        answer: The answer.
        text: Its body.
    """
    said = server.quote(message_of(text)) if origin_of(url) == origin_of(server.url) else ""
    after = parse_retry_after(answer.headers.get("Retry-After", ""), datetime.now(UTC))
    return by_status(answer.status, f"{doing}: {answer.status} {said}".rstrip(), after)


def by_status(status: int, reason: str, after_seconds: float | None) -> StageError:
    """Return the error that an HTTP status means for the push.

    Args:
        status: The status; 0 for none.
        reason: What happened, for people.
        after_seconds: The server's Retry-After; None without one.
    """
    code = str(status) if status else None
    if status in _REFUSED:
        return GitFailed(
            reason,
            fault=GitFault.LOGIN,
            remedy="let the token or key that fetches the repository read its LFS objects, too",
            code=code,
        )
    if status in {404, 410, 422}:
        return Reject(
            reason,
            remedy='see whether this server has the LFS objects, or set lfs = "pointers"',
            code=code,
        )
    # 429, 507, 509: too many requests; no space, bandwidth (docs/api/batch.md). The others are an
    # outage unless the server names a time for the next try (RFC 9110, 15.6.4).
    asked = status in {502, 503, 504} and after_seconds is not None
    if status in {429, 507, 509} or asked:
        return Busy(reason, after_seconds=after_seconds, code=code)
    if 500 <= status < 600:  # noqa: PLR2004 - Server Error; there are no others
        return Outage(reason, after_seconds=after_seconds, code=code)
    return Retry(reason, code=code)


def may_have_expired(status: int, until: float | None) -> bool:
    """Return whether this may be a store's answer to an expired URL: usually, not always, 403."""
    late = until is not None and anyio.current_time() >= until
    return status in _REFUSED or (late and 400 <= status < 500)  # noqa: PLR2004 - Client Error


async def read_short(answer: aiohttp.ClientResponse, doing: str) -> bytes:
    """Return the body of a short answer.

    Raises:
        Retry: It broke off, or is too long.
    """
    text = bytearray()
    try:
        async for chunk in answer.content.iter_any():
            text += chunk
            if len(text) > _ANSWER_BYTES_MOST:
                raise Retry(f"{doing}: the answer is too long")
    except (aiohttp.ClientError, TimeoutError):
        raise Retry(f"{doing}: the answer broke off") from None
    return bytes(text)


def next_url(url: str, answer: aiohttp.ClientResponse, doing: str) -> str:
    """Return the URL that a redirect leads to.

    Args:
        url: URL of the request.
        answer: The redirect.
        doing: What the request was for, for people.

    Raises:
        Retry: It leads nowhere, or away from HTTPS.
    """
    try:
        following = usable_url(answer.headers.get("Location"), url)
    except ValueError:
        raise Retry(f"{doing}: {answer.status}, a redirect that leads nowhere") from None
    if origin_of(following).scheme == "http" and origin_of(url).scheme == "https":
        raise Retry(f"{doing}: {answer.status}, a redirect that leads away from HTTPS")
    return following
