"""Requests to the batch API of Git LFS: addresses of contents (git-lfs, docs/api/batch.md)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import orjson

from asyncbuild.domain.errors import Reject, Retry, StageError
from asyncbuild.git.content.lfs.http import Web
from asyncbuild.git.content.lfs.http_answers import (
    HOPS_MOST,
    OK,
    REDIRECTS,
    by_status,
    next_url,
    read_short,
    refusal_of,
)
from asyncbuild.git.content.lfs.lfs_server import LfsServer
from asyncbuild.git.content.lfs.stored_file import MissingContent
from asyncbuild.git.formats.lfs_answers import (
    LfsAction,
    origin_of,
    parse_action,
    parse_batch,
    usable_url,
)

_JSON: Final = "application/vnd.git-lfs+json"
_SPARE_SECONDS: Final = 5.0  # margin before a URL expires, as in git-lfs
_NOT_TOLD: Final = "what the LFS server says of it cannot be used"


@dataclass(frozen=True, slots=True)
class GivenAction:
    """Answer of the server about one object.

    Attributes:
        action: Address of the content.
        until: When the URL expires, on anyio's clock; None if it never does.
        own: Whether the login of the LFS server is among the headers.
    """

    action: LfsAction
    until: float | None
    own: bool


async def admit_all(_size_bytes: int) -> None:
    """Admit any size: for stores without a budget."""


class BatchRequests:
    """Asks one server for the addresses of contents.

    Args:
        server: The server.
        name: Name of the repository, for people.
        admit: Called with the total of bytes that the server has and that will be kept.
    """

    def __init__(
        self, server: LfsServer, name: str, admit: Callable[[int], Awaitable[None]]
    ) -> None:
        self._server = server
        self._name = name
        self._admit = admit
        self._admitted: dict[str, int] = {}

    async def ask(self, web: Web, missing: Sequence[MissingContent]) -> dict[str, GivenAction]:
        """Return the server's answer about each content, by id."""
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
        """Return the answer of the batch API, following redirects within the server."""
        headers = {**self._server.headers, "Accept": _JSON, "Content-Type": _JSON}
        url = usable_url(f"{self._server.url}/objects/batch")
        for _ in range(HOPS_MOST):
            async with web.request("POST", url, headers, doing=doing, body=body) as answer:
                text = await read_short(answer, doing)
            if answer.status == OK:
                return text
            if answer.status not in REDIRECTS:
                raise refusal_of(self._server, doing, url, answer, text)
            following = next_url(url, answer, doing)
            if origin_of(following) != origin_of(url):
                there = origin_of(following)
                raise Retry(
                    f"{doing}: {answer.status}, it sends to another server, "
                    f"{there.scheme}://{there.host}:{there.port}",
                    remedy="name the repository where it is now",
                )
            url = following
        raise Retry(f"{doing}: more than {HOPS_MOST} redirects")

    def _given(self, missing: MissingContent, said: Mapping[str, Any]) -> GivenAction:
        doing = f"fetch LFS file {missing.file} of {self._name}"
        if fault := said.get("error"):
            raise self._missing(doing, missing, fault)
        size = said.get("size")
        if isinstance(size, int) and size > 0 and size != missing.pointer.size:
            raise _wrong_size(doing, missing, size)
        try:
            action = parse_action(said, f"{self._server.url}/", datetime.now(UTC))
        except ValueError:
            raise Retry(f"{doing}: {_NOT_TOLD}") from None  # the error may contain the URL
        until = None
        if action.within_seconds is not None and action.within_seconds > 0:
            spare = min(_SPARE_SECONDS, action.within_seconds / 2)
            until = anyio.current_time() + action.within_seconds - spare
        named = "authorization" in map(str.lower, action.headers)
        own = (
            origin_of(action.href) == origin_of(self._server.url)
            and not said.get("authenticated")
            and not named
        )
        return GivenAction(action, until, own)

    def _missing(self, doing: str, missing: MissingContent, fault: object) -> StageError:
        if not isinstance(fault, dict):
            return Retry(f"{doing}: {_NOT_TOLD}")
        code, message = fault.get("code"), self._server.quote(str(fault.get("message") or ""))
        if code in {404, 410, 422}:
            return Reject(
                f"{doing}: {self._server.url} has not got its object {missing.pointer.oid}: "
                f"{code} {message}",
                remedy="push it (git lfs push --all), then send the dead letter back",
                code=str(code),
            )
        status = code if isinstance(code, int) else 0
        return by_status(status, f"{doing}: {status} {message}", None)


def _wrong_size(doing: str, missing: MissingContent, size: int) -> Reject:
    return Reject(
        f"{doing}: its pointer says {missing.pointer.size} bytes, and the server has {size}",
        remedy="write the pointer again (git add --renormalize), and push that",
    )
