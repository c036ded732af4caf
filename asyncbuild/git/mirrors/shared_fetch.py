"""Sharing of fetches: one fetch serves every push that waits for it.

A caller starts a fetch if none runs. Callers during a fetch wait for the next one, which they
share: the running one may have looked at the remote before they came. Pushes come in bursts and
each first looks up its commit in the mirror, so a fetch that could begin waits for those look-ups:
a fetch for the first caller alone would leave the rest to a second fetch.
"""

import copy
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio
from anyio.abc import TaskGroup

from asyncbuild.domain.errors import Retry
from asyncbuild.git.formats.cat_file import Commit
from asyncbuild.git.mirrors.directory import MirrorState
from asyncbuild.runtime.batching import Batcher

DEFAULT_BRANCH: Final = "HEAD"


@dataclass(eq=False, slots=True)
class CommitRequest:
    """A caller's wait for `commit`, which a push says is on `ref`.

    `ref` is `DEFAULT_BRANCH` if it is not known; it becomes empty if there is none.

    `seen` is the mirror in which the commit was not found. `behind` is the commit that the ref was
    at before the push: a server that still shows it there does not have the push yet, so there is
    nothing to search for. If empty, the whole history is searched.
    """

    ref: str
    commit: str
    behind: str = ""
    seen: MirrorState | None = None
    outcome: Commit | Exception | None = None
    given_up: bool = False
    _settled: anyio.Event = field(default_factory=anyio.Event)

    @property
    def open(self) -> bool:
        """True while a caller still waits for an answer."""
        return self.outcome is None and not self.given_up

    def settle(self, outcome: Commit | Exception) -> None:
        """Answer; only the first answer counts."""
        if self.outcome is None:
            self.outcome = outcome
            self._settled.set()

    async def wait_settled(self) -> Commit:
        """Wait for the answer."""
        await self._settled.wait()
        if isinstance(self.outcome, Commit):
            return self.outcome
        # A copy: one error raised in several tasks would collect all their tracebacks.
        raise copy.copy(self.outcome) if self.outcome else AssertionError


class SharedFetch:
    """Fetches of one mirror, one after the other; `present` looks up what is there already.

    Args:
        tasks: Owns the running fetch, so that it outlives the caller that started it.
        fetch: Settles the wishes that it is given; wishes that it leaves open, or its failure, end
            in an error.
        find: Finds those of some commits that are there already.
    """

    def __init__(
        self,
        tasks: TaskGroup,
        fetch: Callable[[Sequence[CommitRequest]], Awaitable[None]],
        find: Callable[[Sequence[str]], Awaitable[Mapping[str, Commit]]],
    ) -> None:
        self.present = Batcher(find)
        self._tasks = tasks
        self._fetch = fetch
        self._waiting: list[CommitRequest] = []
        self._served: Sequence[CommitRequest] = ()
        self._scope = anyio.CancelScope()
        self._serving = False
        self._users = 0
        self._looking: set[anyio.Event] = set()

    @property
    def idle(self) -> bool:
        """True if no caller waits or may soon, and nothing runs."""
        return self._users == 0 and not self._serving and not self._looking

    @contextmanager
    def open_look(self) -> Iterator[None]:
        """Mark a look-up in progress; the next fetch waits for it, because it may add a request."""
        ended = anyio.Event()
        self._looking.add(ended)
        try:
            yield
        finally:
            self._looking.discard(ended)
            ended.set()

    async def get(self, wish: CommitRequest) -> Commit:
        """Wait for the commit. A cancelled wait is withdrawn; the last one cancels the fetch.

        Raises:
            StageError: The result of the fetch for this request.
        """
        self._waiting.append(wish)
        self._users += 1
        if not self._serving:
            self._serving = True
            self._tasks.start_soon(self._serve)
        try:
            return await wish.wait_settled()
        finally:
            self._users -= 1
            if wish.open:
                wish.given_up = True
                self._stop_if_unwanted()

    def _stop_if_unwanted(self) -> None:
        unanswered = [wish for wish in self._served if wish.outcome is None]
        if unanswered and all(wish.given_up for wish in unanswered):
            self._scope.cancel()

    async def _serve(self) -> None:
        try:
            while self._waiting:
                for look in tuple(self._looking):  # later look-ups do not delay it
                    await look.wait()
                asked = [wish for wish in self._waiting if wish.open]
                self._waiting.clear()
                if asked:
                    with anyio.CancelScope() as self._scope:
                        await self._serve_once(asked)
        finally:
            self._serving = False

    async def _serve_once(self, asked: Sequence[CommitRequest]) -> None:
        self._served = asked
        try:
            await self._fetch(asked)
        except Exception as error:  # noqa: BLE001 - an error of the callers, not of the service
            for wish in asked:
                wish.settle(error)
        finally:
            self._served = ()
            for wish in asked:
                wish.settle(Retry(f"the fetch of {wish.commit} was stopped"))
