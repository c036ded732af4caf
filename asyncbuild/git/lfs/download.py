"""The contents of large files, by the batch API of Git LFS (git-lfs, docs/api/batch.md).

Not by git-lfs itself: it says what went wrong in the server's words alone, so that a limit could
not be told from a refusal; a login that is refused it sends again without end; and at some errors
it writes its whole environment, where the login is, into a file beside the contents (I10).
"""

import hashlib
import os
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import anyio
import orjson
from anyio import to_thread

from asyncbuild.errors import Busy, Outage, Reject, Retry, StageError
from asyncbuild.git.faults import Fault, GitFailed, quote
from asyncbuild.git.lfs.pointers import Pointer
from asyncbuild.git.lfs.server import Server, origin_of
from asyncbuild.tasks import leaves_of

_JSON: Final = "application/vnd.git-lfs+json"
_BATCH: Final = 100  # as git-lfs asks
_PARALLEL: Final = 8
_CHUNK_BYTES: Final = 256 * 1024
_ANSWER_BYTES_MOST: Final = 16 * 1024 * 1024
_HOPS_MOST: Final = 5
_CONNECT_SECONDS: Final = 30.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Missing:
    """A content that is not here: what is asked for, of which file, and where it is to be."""

    pointer: Pointer
    file: str
    target: Path
    part: Path


class Download:
    """One visit to a server.

    Args:
        server: Whom to ask.
        name: Of the repository, for people.
        silence_seconds: How long the server may be silent.
    """

    def __init__(self, server: Server, name: str, *, silence_seconds: float) -> None:
        self._server = server
        self._name = name
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence_seconds
        )
        self._limit = anyio.CapacityLimiter(_PARALLEL)

    async def get(self, missing: Sequence[Missing]) -> None:
        """Fetch all of them; each appears whole, or not at all.

        Raises:
            Reject: the server has not got one, or no contents of this repository at all.
            Busy, Outage: it is at a limit, or cannot be reached.
            Retry: it refuses the login, or a content is not what was asked for.
        """
        connector = aiohttp.TCPConnector(limit=_PARALLEL)
        async with aiohttp.ClientSession(
            connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            for begin in range(0, len(missing), _BATCH):
                await self._get_batch(session, missing[begin : begin + _BATCH])

    async def _get_batch(self, session: aiohttp.ClientSession, missing: Sequence[Missing]) -> None:
        actions = await self._ask(session, missing)
        with _one_error():
            async with anyio.create_task_group() as tasks:
                for each in missing:
                    tasks.start_soon(self._get, session, each, actions.get(each.pointer.oid))

    async def _ask(
        self, session: aiohttp.ClientSession, missing: Sequence[Missing]
    ) -> dict[str, Mapping[str, Any]]:
        """What the server says of each, by its id."""
        url = f"{self._server.url}/objects/batch"
        doing = f"ask {self._server.url} for {len(missing)} LFS objects of {self._name}"
        body = {
            "operation": "download",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": each.pointer.oid, "size": each.pointer.size} for each in missing],
        }
        headers = {**self._server.headers, "Accept": _JSON, "Content-Type": _JSON}
        with self._errors(doing):
            async with session.post(
                url,
                data=orjson.dumps(body),
                headers=headers,
                allow_redirects=False,  # would carry the login along
                proxy=_proxy(url),
            ) as answer:
                text = await answer.content.read(_ANSWER_BYTES_MOST)
                while chunk := await answer.content.read(_ANSWER_BYTES_MOST):
                    text += chunk
                    if len(text) > _ANSWER_BYTES_MOST:
                        raise Retry(f"{doing}: the answer is too long")
        if answer.status != 200:  # noqa: PLR2004 - OK
            raise self._refused(doing, answer, _message(text))
        try:
            return {str(each["oid"]): each for each in orjson.loads(text)["objects"]}
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise Retry(f"{doing}: the answer is none of the batch API") from error

    async def _get(
        self, session: aiohttp.ClientSession, missing: Missing, said: Mapping[str, Any] | None
    ) -> None:
        doing = f"fetch LFS file {missing.file} of {self._name}"
        async with self._limit:
            href, headers = self._action(doing, missing, said or {})
            with self._errors(doing):
                await self._fetch(session, doing, missing, href, headers)

    def _action(
        self, doing: str, missing: Missing, said: Mapping[str, Any]
    ) -> tuple[str, dict[str, str]]:
        """Where the content is, and with which headers."""
        try:
            if fault := said.get("error"):
                raise self._missing(doing, missing, fault)
            action = said["actions"]["download"]
            href = urljoin(f"{self._server.url}/", str(action["href"]))
            headers = {str(key): str(each) for key, each in (action.get("header") or {}).items()}
            own = origin_of(href) == origin_of(self._server.url)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise Retry(f"{doing}: the server does not say where it is") from error
        if own and not said.get("authenticated") and "authorization" not in map(str.lower, headers):
            headers |= self._server.headers
        return href, headers

    def _missing(self, doing: str, missing: Missing, fault: Mapping[str, Any]) -> StageError:
        code, message = fault.get("code"), self._quote(str(fault.get("message", "")))
        if code in {404, 410, 422}:
            return Reject(
                f"{doing}: {self._server.url} has not got its object {missing.pointer.oid}: "
                f"{code} {message}",
                remedy="push it (git lfs push --all), then send the dead letter back",
            )
        return _by_status(int(code or 0), f"{doing}: {code} {message}", None)

    async def _fetch(
        self,
        session: aiohttp.ClientSession,
        doing: str,
        missing: Missing,
        href: str,
        headers: dict[str, str],
    ) -> None:
        """Follow to other hosts without the headers that are for the first one alone."""
        url, begin = href, await to_thread.run_sync(_length, missing.part)
        for _ in range(_HOPS_MOST):
            own = origin_of(url) == origin_of(href)
            sent = dict(headers) if own else {}
            sent["Accept-Encoding"] = "identity"
            if 0 < begin < missing.pointer.size:
                sent["Range"] = f"bytes={begin}-"
            async with session.get(
                url, headers=sent, allow_redirects=False, proxy=_proxy(url)
            ) as answer:
                if answer.status in _REDIRECTS:
                    url = _next(url, answer.headers.get("Location", ""), doing)
                    continue
                if answer.status not in {200, 206}:
                    text = await answer.content.read(_CHUNK_BYTES)
                    raise self._refused(doing, answer, _message(text))
                await self._keep(answer, doing, missing, begin if answer.status == 206 else 0)  # noqa: PLR2004 - Partial Content
                return
        raise Retry(f"{doing}: more than {_HOPS_MOST} redirects")

    async def _keep(
        self, answer: aiohttp.ClientResponse, doing: str, missing: Missing, begin: int
    ) -> None:
        """Write what comes, and what it is; it takes its place when it is all there."""
        # Shielded where a file is opened: a cancelled thread would leave it open.
        with anyio.CancelScope(shield=True):
            file, digest = await to_thread.run_sync(_open_part, missing, begin)
        with file:
            size = begin
            async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                size += len(chunk)
                if size > missing.pointer.size:
                    break
                await to_thread.run_sync(_write, file, digest, chunk)
        if size < missing.pointer.size:
            raise Outage(f"{doing}: it ended after {size} of {missing.pointer.size} bytes")
        if digest.hexdigest() != missing.pointer.oid or size > missing.pointer.size:
            missing.part.unlink(missing_ok=True)
            raise Retry(
                f"{doing}: what {self._server.url} gave is not object {missing.pointer.oid}"
            )
        await to_thread.run_sync(_publish, missing)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError) as error:
            why = self._quote(str(error)) or "no answer in time"
            raise Outage(
                f"{doing}: {why}", remedy="if it lasts, check the way to the LFS server"
            ) from None  # the exception knows the request's headers

    def _refused(self, doing: str, answer: aiohttp.ClientResponse, message: str) -> StageError:
        after = answer.headers.get("Retry-After", "")
        reason = f"{doing}: {answer.status} {self._quote(message)}".rstrip()
        return _by_status(answer.status, reason, float(after) if after.isdecimal() else None)

    def _quote(self, text: str) -> str:
        """One printable line of the server's words, unless it repeats the login (I10)."""
        for header in self._server.headers.values():
            word = header.rpartition(" ")[2]
            if word in text or header in text:
                return "(it repeats the login)"
        return quote(text) if text else ""


def _by_status(status: int, reason: str, after_seconds: float | None) -> StageError:
    """What an HTTP status means for the push."""
    if status in {401, 403}:
        return GitFailed(
            reason,
            fault=Fault.LOGIN,
            remedy="let the token or key that fetches the repository read its LFS objects, too",
        )
    if status in {404, 410, 422}:
        return Reject(
            reason,
            remedy='see whether this server has the LFS objects, or set lfs = "pointers"',
        )
    if status in {429, 507, 509}:  # too many requests; no space, bandwidth (docs/api/batch.md)
        return Busy(reason, after_seconds=after_seconds)
    if status >= 500:  # noqa: PLR2004 - Server Error
        return Outage(reason, after_seconds=after_seconds)
    return Retry(reason)


def _message(text: bytes) -> str:
    """What the batch API says of an error, in JSON."""
    with suppress(orjson.JSONDecodeError):
        said = orjson.loads(text)
        if isinstance(said, dict):
            return str(said.get("message", ""))
    return ""


def _next(url: str, location: str, doing: str) -> str:
    following = urljoin(url, location)
    scheme = urlsplit(following).scheme
    if scheme not in {"http", "https"} or (scheme == "http" and url.startswith("https:")):
        raise Retry(f"{doing}: a redirect that leads to no HTTPS")
    return following


def _proxy(url: str) -> str | None:
    """As git has it: `https_proxy`, `no_proxy` and their like. No other word of the host counts."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _open_part(missing: Missing, begin: int) -> tuple[IO[bytes], Any]:
    """The file that a content grows in, and the digest of what is there already."""
    missing.part.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    file = missing.part.open("r+b" if begin else "wb", buffering=0)
    left = begin
    while left:
        chunk = file.read(min(_CHUNK_BYTES, left))
        if not chunk:
            break
        digest.update(chunk)
        left -= len(chunk)
    file.truncate()
    return file, digest


def _write(file: IO[bytes], digest: Any, chunk: bytes) -> None:  # noqa: ANN401 - hashlib's own
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]
    digest.update(chunk)


def _publish(missing: Missing) -> None:
    missing.target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(missing.part, missing.target)  # noqa: PTH105 - whatever is there


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
