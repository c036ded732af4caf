"""Download of the contents of large files, by the batch API of Git LFS.

git-lfs itself is not used: it reports errors only in the server's words, so that a limit could not
be told from a refusal; it repeats a refused login without end; and at some errors it writes its
whole environment, with the login, into a file beside the contents (I10).
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import anyio

from asyncbuild.domain.errors import Reject, Retry, StageError
from asyncbuild.git.content.lfs.batch_request import BatchRequests, GivenAction, admit_all
from asyncbuild.git.content.lfs.http import PARALLEL, Web, open_web
from asyncbuild.git.content.lfs.http_answers import (
    HOPS_MOST,
    NO_RANGE,
    OK,
    PARTIAL,
    REDIRECTS,
    may_have_expired,
    next_url,
    read_short,
    refusal_of,
)
from asyncbuild.git.content.lfs.lfs_server import LfsServer
from asyncbuild.git.content.lfs.partial_file import (
    AnswerCutOff,
    ContentMismatch,
    PartialContent,
)
from asyncbuild.git.content.lfs.stored_file import MissingContent
from asyncbuild.git.formats.lfs_answers import origin_of
from asyncbuild.runtime.tasks import leaves_of

_BATCH: Final = 100  # as many as git-lfs asks for
_TRIES_OF_ONE: Final = 3


class Download:
    """Download from one server.

    Args:
        server: The server.
        name: Name of the repository, for people.
        silence_seconds: Longest silence of the server.
        admit: Called with the total of bytes that the server has and that will be kept.
    """

    def __init__(
        self,
        server: LfsServer,
        name: str,
        *,
        silence_seconds: float,
        admit: Callable[[int], Awaitable[None]] = admit_all,
    ) -> None:
        self._server = server
        self._name = name
        self._silence_seconds = silence_seconds
        self._requests = BatchRequests(server, name, admit)
        self._limit = anyio.CapacityLimiter(PARALLEL)

    async def get(self, missing: Sequence[MissingContent]) -> None:
        """Fetch all of them; each appears whole, or not at all.

        Raises:
            Reject: The server lacks one, or has no contents of this repository at all.
            Busy, Outage: It is at a limit, or cannot be reached.
            Retry: It refuses the login, or sends something else.
        """
        async with open_web(self._server.reach, silence_seconds=self._silence_seconds) as web:
            for begin in range(0, len(missing), _BATCH):
                await self._get_batch(web, missing[begin : begin + _BATCH])

    async def _get_batch(self, web: Web, missing: Sequence[MissingContent]) -> None:
        """Fetch contents; ask again for those whose URLs expired before they were used."""
        left, useless = list(missing), 0
        while left:
            given = await self._requests.ask(web, left)
            again: dict[MissingContent, StageError] = {}
            with _one_error():
                async with anyio.create_task_group() as tasks:
                    for each in left:
                        tasks.start_soon(self._get, web, each, given[each.pointer.oid], again)
            useless = useless + 1 if len(again) == len(left) else 0
            if useless == _TRIES_OF_ONE:
                raise next(iter(again.values()))
            left = list(again)

    async def _get(
        self,
        web: Web,
        missing: MissingContent,
        given: GivenAction,
        again: dict[MissingContent, StageError],
    ) -> None:
        """Fetch one content, or record why its URL has to be asked for again."""
        doing = f"fetch LFS file {missing.file} of {self._name}"
        async with self._limit:
            if given.until is not None and anyio.current_time() >= given.until:
                again[missing] = self._expired(doing)
                return
            for left in reversed(range(_TRIES_OF_ONE)):
                try:
                    refused = await self._fetch(web, doing, missing, given)
                except AnswerCutOff as error:
                    if not left or not error.useful:
                        raise Retry(error.reason) from None
                except ContentMismatch as error:
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
        self, web: Web, doing: str, missing: MissingContent, given: GivenAction
    ) -> StageError | None:
        """Fetch a content, following redirects; other hosts get no headers of the first one.

        Returns:
            None if the content is here; else the URL was refused and may have expired: the error to
            raise if a new URL is refused, too.
        """
        action = given.action
        url, part = action.href, await PartialContent.open(missing)
        for _ in range(HOPS_MOST):
            at_home = origin_of(url) == origin_of(action.href)
            sent = dict(action.headers) if at_home else {}
            if at_home and given.own:
                sent |= self._server.headers
            if part.size:
                sent["Range"] = f"bytes={part.size}-"
            async with web.request("GET", url, sent, doing=doing) as answer:
                if answer.status in REDIRECTS:
                    url = next_url(url, answer, doing)
                    continue
                if answer.status == NO_RANGE and part.size:
                    await part.discard()
                    continue
                if answer.status in {OK, PARTIAL}:
                    await part.keep(answer, doing)
                    return None
                error = refusal_of(
                    self._server, doing, url, answer, await read_short(answer, doing)
                )
                if may_have_expired(answer.status, given.until):
                    return error if at_home and given.own else self._expired(doing)
                raise error
        raise Retry(f"{doing}: more than {HOPS_MOST} redirects")


@contextmanager
def _one_error() -> Iterator[None]:
    """Raise one of several errors: if possible, one that no further try would mend."""
    try:
        yield
    except BaseExceptionGroup as group:
        foreseen, others = group.split((StageError, OSError))
        if others is not None or foreseen is None:
            raise
        raise min(leaves_of(foreseen), key=lambda each: not isinstance(each, Reject)) from None
