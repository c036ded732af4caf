"""HTTP of the forges' APIs: the session, and the errors that answers mean."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import orjson
import yarl

from asyncbuild.domain.errors import Busy, Denied, Outage, Reject, Retry, StageError, reading
from asyncbuild.domain.foreign_text import plain
from asyncbuild.domain.retry_after import parse_retry_after

_PARALLEL: Final = 16
_SECONDS: Final = 30.0  # a status is a short text: a server that needs longer is out of order
_QUOTED_MOST: Final = 300
_BODY_MOST: Final = 64 * 1024
_DOCUMENT_MOST: Final = 4 * 1024 * 1024  # a hundred installations of an App have 0.5 MiB
PEER: Final = "forge"


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open connections to APIs; proxies are those of the environment. Redirects are not followed.

    A redirect would carry the credential to a place that the configuration does not name.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_PARALLEL),
        timeout=aiohttp.ClientTimeout(total=_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
    ) as session:
        yield session


async def post_json(
    session: aiohttp.ClientSession,
    url: str,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    doing: str,
) -> None:
    """Post a JSON object; return if the answer is a success.

    Args:
        session: The connections.
        url: The whole URL, quoted.
        body: The object.
        headers: The credential, and what else the API asks for.
        doing: What the request is for, for people.

    Raises:
        StageError: As `StatusPoster.post`.
    """
    with reaching(doing):
        async with session.post(
            yarl.URL(url, encoded=True),
            data=orjson.dumps(body),
            headers={**headers, "Content-Type": "application/json", "Accept": "application/json"},
            allow_redirects=False,
        ) as answer:
            if _is_success(answer.status):
                return
            text = await answer.content.read(_BODY_MOST)
            raise refusal(doing, answer.status, message_of(text), answer.headers)


@dataclass(frozen=True, slots=True)
class ForgeReply:
    """Answer to a question that changes nothing: headers by small letters, and the JSON body."""

    headers: Mapping[str, str]
    document: Any


async def get_json(
    session: aiohttp.ClientSession, url: str, *, headers: Mapping[str, str], doing: str
) -> ForgeReply:
    """Ask for a JSON document; return it with the headers of the answer.

    Args:
        session: The connections.
        url: The whole URL, quoted.
        headers: The credential, and what else the API asks for.
        doing: What the request is for, for people.

    Raises:
        StageError: As `StatusPoster.post`.
    """
    with reaching(doing):
        async with session.get(
            yarl.URL(url, encoded=True),
            headers={"Accept": "application/json", **headers},
            allow_redirects=False,
        ) as answer:
            text = await answer.content.read(_DOCUMENT_MOST)
            if not _is_success(answer.status):
                raise refusal(doing, answer.status, message_of(text), answer.headers)
            told = {name.lower(): value for name, value in answer.headers.items()}
    with reading(doing, raises=Retry, peer=PEER):
        return ForgeReply(told, orjson.loads(text))


@contextmanager
def reaching(doing: str) -> Iterator[None]:
    """Classify errors of aiohttp; they hold URL and headers, so are neither quoted nor chained.

    Raises:
        Outage: The server cannot be reached, or does not answer in time.
        Retry: Its answer is not HTTP.
    """
    try:
        yield
    except aiohttp.ClientConnectorCertificateError:
        why = "the server's certificate is not trusted"
        raise Outage(f"{doing}: {why}", remedy=_WAY, peer=PEER) from None
    except (aiohttp.ClientConnectionError, TimeoutError):
        why = "the server cannot be reached, or does not answer"
        raise Outage(f"{doing}: {why}", remedy=_WAY, peer=PEER) from None
    except aiohttp.ClientError:
        raise Retry(f"{doing}: the answer cannot be read", peer=PEER) from None


def _is_success(status: int) -> bool:
    """Return whether an answer has what was asked for: not a redirect, and not a page to log in."""
    return 200 <= status < 300 and status != _LOGIN  # noqa: PLR2004 - Successful


# Azure DevOps answers a token that has ended, or is wrong, with its page to log in.
_LOGIN: Final = 203
_WAY: Final = "if it lasts, check api_url of [hosts.commit_status], and the network's way to it"
_RIGHTS: Final = "give the credential of [hosts.commit_status] the right to write commit statuses"


def refusal(doing: str, status: int, message: str, headers: Mapping[str, str]) -> StageError:
    """Return the error that an answer means.

    Args:
        doing: What the request was for, for people.
        status: Status of HTTP.
        message: Words of the forge.
        headers: Headers of the answer, by any spelling of their names.
    """
    told = {name.lower(): value for name, value in headers.items()}
    after = _pause(told)
    reason = f"{doing}: {status} {message}".rstrip()
    code = str(status)
    # GitHub says 403 or 429 of its rate limits (REST API, "Rate limits").
    limited = status == 403 and after is not None  # noqa: PLR2004 - Forbidden
    if status == 429 or limited or (status == 503 and after is not None):  # noqa: PLR2004
        return Busy(reason, after_seconds=after, peer=PEER, code=code)
    if status in {_LOGIN, 401, 403}:
        return Denied(reason, remedy=_RIGHTS, peer=PEER, code=code)
    if status >= 500:  # noqa: PLR2004 - Server Error
        return Outage(reason, after_seconds=after, peer=PEER, code=code)
    # GitLab says 409 while it works on another status of the commit: that is over in seconds.
    if status in {400, 404, 410, 422}:
        # GitHub and GitLab say 404 of a repository that the credential may not see.
        remedy = _RIGHTS if status == 404 else ""  # noqa: PLR2004 - Not Found
        return Reject(reason, remedy=remedy, peer=PEER, code=code)
    return Retry(reason, peer=PEER, code=code)


def _pause(headers: Mapping[str, str]) -> float | None:
    """Return the pause in seconds that an answer asks for; None if it asks for none.

    GitHub names the end of the hour in `x-ratelimit-reset`, in epoch seconds, and says that nothing
    is left (REST API, "Rate limits").
    """
    now = datetime.now(UTC)
    after = parse_retry_after(headers.get("retry-after", ""), now)
    if after is not None:
        return after
    for left, reset in _LIMITS:
        until = headers.get(reset, "")
        if headers.get(left) == "0" and until.isascii() and until.isdecimal():
            return max(1.0, int(until[:12]) - now.timestamp())
    return None


_LIMITS: Final = (
    ("x-ratelimit-remaining", "x-ratelimit-reset"),  # GitHub
    ("ratelimit-remaining", "ratelimit-reset"),  # GitLab, "Rate limits", response headers
)


def message_of(text: bytes) -> str:
    """Return what a forge says in the body of a refusal, fit to be shown; empty for a page."""
    try:
        told = orjson.loads(text)
    except ValueError:
        return ""
    if isinstance(told, dict):
        error = told.get("error")
        nested = error.get("message") if isinstance(error, dict) else error
        errors = told.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else None
        listed = first.get("message") if isinstance(first, dict) else None
        told = told.get("message") or nested or listed or ""
    text_of = told if isinstance(told, str) else str(told)
    return plain(text_of, _QUOTED_MOST)
