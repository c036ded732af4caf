"""The contents of large files, by the batch API of Git LFS (git-lfs, docs/api/batch.md).

Not by git-lfs itself: it says what went wrong in the server's words alone, so that a limit could
not be told from a refusal; a login that is refused it sends again without end; and at some errors
it writes its whole environment, where the login is, into a file beside the contents (I10).
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import anyio
import orjson

from asyncbuild.domain.errors import Busy, Outage, Reject, Retry, StageError
from asyncbuild.git.content.lfs.batch_api import LfsServer
from asyncbuild.git.content.lfs.http import PARALLEL, Web, open_web
from asyncbuild.git.content.lfs.partial_file import Broken, MissingContent, PartialContent, Wrong
from asyncbuild.git.formats.error_classes import GitFailed, GitFault, quote
from asyncbuild.git.formats.lfs_answers import (
    LfsAction,
    message_of,
    origin_of,
    parse_action,
    parse_batch,
    parse_retry_after,
    usable_url,
)
from asyncbuild.runtime.tasks import leaves_of

_JSON: Final = "application/vnd.git-lfs+json"
_BATCH: Final = 100  # as git-lfs asks
_ANSWER_BYTES_MOST: Final = 2 * 1024 * 1024
_HOPS_MOST: Final = 5
_TRIES_OF_ONE: Final = 3
_SPARE_SECONDS: Final = 5.0  # before a URL expires, as git-lfs has it
_OK: Final = 200
_PARTIAL: Final = 206
_NO_RANGE: Final = 416
_REFUSED: Final = frozenset({401, 403})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_NOT_TOLD: Final = "what the LFS server says of it cannot be used"


async def _admit_all(_size_bytes: int) -> None:
    """Admit any size: for stores whose space is not accounted."""


@dataclass(frozen=True, slots=True)
class _Given:
    """The server's answer about one object.

    Attributes:
        action: Where it is.
        until: When the URL expires, on anyio's clock; None if it never does.
        own: Whether the login of the LFS server is among the headers.
    """

    action: LfsAction
    until: float | None
    own: bool


class Download:
    """One visit to a server.

    Args:
        server: Whom to ask.
        name: Of the repository, for people.
        silence_seconds: How long the server may be silent.
        admit: Called with the bytes that the server has and that will be kept, all in all.
    """

    def __init__(
        self,
        server: LfsServer,
        name: str,
        *,
        silence_seconds: float,
        admit: Callable[[int], Awaitable[None]] = _admit_all,
    ) -> None:
        self._server = server
        self._name = name
        self._silence_seconds = silence_seconds
        self._admit = admit
        self._admitted: dict[str, int] = {}
        self._limit = anyio.CapacityLimiter(PARALLEL)

    async def get(self, missing: Sequence[MissingContent]) -> None:
        """Fetch all of them; each appears whole, or not at all.

        Raises:
            Reject: the server has not got one, or no contents of this repository at all.
            Busy, Outage: it is at a limit, or cannot be reached.
            Retry: it refuses the login, or a content is not what was asked for.
        """
        async with open_web(self._server.reach, silence_seconds=self._silence_seconds) as web:
            for begin in range(0, len(missing), _BATCH):
                await self._get_batch(web, missing[begin : begin + _BATCH])

    async def _get_batch(self, web: Web, missing: Sequence[MissingContent]) -> None:
        """Fetch them, and ask again for those whose URLs expired before they were used."""
        left, in_vain = list(missing), 0
        while left:
            given = await self._ask(web, left)
            again: dict[MissingContent, StageError] = {}
            with _one_error():
                async with anyio.create_task_group() as tasks:
                    for each in left:
                        tasks.start_soon(self._get, web, each, given[each.pointer.oid], again)
            in_vain = in_vain + 1 if len(again) == len(left) else 0
            if in_vain == _TRIES_OF_ONE:
                raise next(iter(again.values()))
            left = list(again)

    async def _ask(self, web: Web, missing: Sequence[MissingContent]) -> dict[str, _Given]:
        """Ask for the address of each content; return the answers by id."""
        doing = f"ask {self._server.url} for {len(missing)} LFS objects of {self._name}"
        body = {
            "operation": "download",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": each.pointer.oid, "size": each.pointer.size} for each in missing],
        }
        text = await self._post(web, doing, orjson.dumps(body))
        try:
            said = parse_batch(text)
        except ValueError as error:
            raise Retry(f"{doing}: the answer is none of the batch API") from error
        given = {
            each.pointer.oid: self._given(each, said.get(each.pointer.oid) or {})
            for each in missing
        }
        self._admitted |= {each.pointer.oid: each.pointer.size for each in missing}
        await self._admit(sum(self._admitted.values()))
        return given

    async def _post(self, web: Web, doing: str, body: bytes) -> bytes:
        """The answer of the batch API, also from another place of the same server."""
        headers = {**self._server.headers, "Accept": _JSON, "Content-Type": _JSON}
        url = usable_url(f"{self._server.url}/objects/batch")
        for _ in range(_HOPS_MOST):
            async with web.request("POST", url, headers, doing=doing, body=body) as answer:
                text = await _read(answer, doing)
            if answer.status == _OK:
                return text
            if answer.status not in _REDIRECTS:
                raise self._refused(doing, url, answer, text)
            following = _next(url, answer, doing)
            if origin_of(following) != origin_of(url):
                there = origin_of(following)
                raise Retry(
                    f"{doing}: {answer.status}, it sends to another server, "
                    f"{there.scheme}://{there.host}:{there.port}",
                    remedy="name the repository where it is now",
                )
            url = following
        raise Retry(f"{doing}: more than {_HOPS_MOST} redirects")

    def _given(self, missing: MissingContent, said: Mapping[str, Any]) -> _Given:
        doing = f"fetch LFS file {missing.file} of {self._name}"
        if fault := said.get("error"):
            raise self._missing(doing, missing, fault)
        size = said.get("size")
        if isinstance(size, int) and size > 0 and size != missing.pointer.size:
            raise _wrong_size(doing, missing, size)
        try:
            action = parse_action(said, f"{self._server.url}/", datetime.now(UTC))
        except ValueError:
            raise Retry(f"{doing}: {_NOT_TOLD}") from None  # it may know the URL
        until = None
        if action.within_seconds is not None and action.within_seconds > 0:
            spare = min(_SPARE_SECONDS, action.within_seconds / 2)
            until = anyio.current_time() + action.within_seconds - spare
        named = "authorization" in map(str.lower, action.headers)
        own = origin_of(action.href) == self._origin and not said.get("authenticated") and not named
        return _Given(action, until, own)

    @property
    def _origin(self) -> tuple[str, str, int]:
        return origin_of(self._server.url)

    def _missing(self, doing: str, missing: MissingContent, fault: object) -> StageError:
        if not isinstance(fault, dict):
            return Retry(f"{doing}: {_NOT_TOLD}")
        code, message = fault.get("code"), self._quote(str(fault.get("message") or ""))
        if code in {404, 410, 422}:
            return Reject(
                f"{doing}: {self._server.url} has not got its object {missing.pointer.oid}: "
                f"{code} {message}",
                remedy="push it (git lfs push --all), then send the dead letter back",
                code=str(code),
            )
        status = code if isinstance(code, int) else 0
        return _by_status(status, f"{doing}: {status} {message}", None)

    async def _get(
        self,
        web: Web,
        missing: MissingContent,
        given: _Given,
        again: dict[MissingContent, StageError],
    ) -> None:
        """Fetch one content, or note that its URL has to be asked for again, and why."""
        doing = f"fetch LFS file {missing.file} of {self._name}"
        async with self._limit:
            if given.until is not None and anyio.current_time() >= given.until:
                again[missing] = self._expired(doing)
                return
            for left in reversed(range(_TRIES_OF_ONE)):
                try:
                    refused = await self._fetch(web, doing, missing, given)
                except Broken as error:
                    if not left or not error.useful:
                        raise Retry(error.reason) from None
                except Wrong as error:
                    if not left or not error.resumed:
                        raise Retry(
                            error.reason,
                            remedy="compare the pointer with what the LFS server has, or see "
                            "what that answers",
                        ) from None
                else:
                    if refused is not None:
                        again[missing] = refused
                    return

    def _expired(self, doing: str) -> Retry:
        return Retry(
            f"{doing}: the URLs that {self._server.url} gives are refused where they lead, or "
            "expire before they can be used",
            remedy="compare the clocks of the LFS server, of its storage and of this machine",
        )

    async def _fetch(
        self, web: Web, doing: str, missing: MissingContent, given: _Given
    ) -> StageError | None:
        """Follow to other hosts without the headers that are for the first one alone.

        Returns:
            If the URL is refused, and may have expired: what it is if a new one is refused, too.
        """
        action = given.action
        url, part = action.href, await PartialContent.open(missing)
        for _ in range(_HOPS_MOST):
            at_home = origin_of(url) == origin_of(action.href)
            sent = dict(action.headers) if at_home else {}
            if at_home and given.own:
                sent |= self._server.headers
            if part.size:
                sent["Range"] = f"bytes={part.size}-"
            async with web.request("GET", url, sent, doing=doing) as answer:
                if answer.status in _REDIRECTS:
                    url = _next(url, answer, doing)
                    continue
                if answer.status == _NO_RANGE and part.size:
                    await part.discard()
                    continue
                if answer.status in {_OK, _PARTIAL}:
                    await part.keep(answer, doing)
                    return None
                error = self._refused(doing, url, answer, await _read(answer, doing))
                if _may_have_expired(answer.status, given.until):
                    return error if at_home and given.own else self._expired(doing)
                raise error
        raise Retry(f"{doing}: more than {_HOPS_MOST} redirects")

    def _refused(
        self, doing: str, url: str, answer: aiohttp.ClientResponse, text: bytes
    ) -> StageError:
        """Classify a status. Quotes only words of the LFS server itself."""
        said = self._quote(message_of(text)) if origin_of(url) == self._origin else ""
        after = parse_retry_after(answer.headers.get("Retry-After", ""), datetime.now(UTC))
        return _by_status(answer.status, f"{doing}: {answer.status} {said}".rstrip(), after)

    def _quote(self, text: str) -> str:
        """One printable line of the server's words, unless it repeats the login (I10)."""
        for header in self._server.headers.values():
            word = header.rpartition(" ")[2]
            if word in text or header in text:
                return "(it repeats the login)"
        return quote(text) if text else ""


def _may_have_expired(status: int, until: float | None) -> bool:
    """Return whether this may be a store's answer to an expired URL: mostly, not always, 403."""
    late = until is not None and anyio.current_time() >= until
    return status in _REFUSED or (late and 400 <= status < 500)  # noqa: PLR2004 - Client Error


def _wrong_size(doing: str, missing: MissingContent, size: int) -> Reject:
    return Reject(
        f"{doing}: its pointer says {missing.pointer.size} bytes, and the server has {size}",
        remedy="write the pointer again (git add --renormalize), and push that",
    )


def _by_status(status: int, reason: str, after_seconds: float | None) -> StageError:
    """What an HTTP status, or 0 for none, means for the push."""
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
    # outage unless the server says when it can again (RFC 9110, 15.6.4).
    asked = status in {502, 503, 504} and after_seconds is not None
    if status in {429, 507, 509} or asked:
        return Busy(reason, after_seconds=after_seconds, code=code)
    if 500 <= status < 600:  # noqa: PLR2004 - Server Error; there are no others
        return Outage(reason, after_seconds=after_seconds, code=code)
    return Retry(reason, code=code)


async def _read(answer: aiohttp.ClientResponse, doing: str) -> bytes:
    """A short answer, whole."""
    text = bytearray()
    try:
        async for chunk in answer.content.iter_any():
            text += chunk
            if len(text) > _ANSWER_BYTES_MOST:
                raise Retry(f"{doing}: the answer is too long")
    except (aiohttp.ClientError, TimeoutError):
        raise Retry(f"{doing}: the answer broke off") from None
    return bytes(text)


def _next(url: str, answer: aiohttp.ClientResponse, doing: str) -> str:
    """Return the URL that a redirect leads to.

    Raises:
        Retry: nowhere, or away from HTTPS.
    """
    try:
        following = usable_url(answer.headers.get("Location"), url)
    except ValueError:
        raise Retry(f"{doing}: {answer.status}, a redirect that leads nowhere") from None
    if origin_of(following).scheme == "http" and origin_of(url).scheme == "https":
        raise Retry(f"{doing}: {answer.status}, a redirect that leads away from HTTPS")
    return following


@contextmanager
def _one_error() -> Iterator[None]:
    """Several may fail at once; one tells what to do now: the one that no new try would mend."""
    try:
        yield
    except BaseExceptionGroup as group:
        foreseen, others = group.split((StageError, OSError))
        if others is not None or foreseen is None:
            raise
        raise min(leaves_of(foreseen), key=lambda each: not isinstance(each, Reject)) from None
