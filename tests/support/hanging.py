"""Foreign clients that hang, fail or count calls: doubles around botocore's own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from asyncbuild.aws.session import Aws
from asyncbuild.config import Settings

_PAGERS = frozenset({"exceptions", "meta"})


@dataclass
class Calls:
    """Every call to AWS in order; `hangs_at` is the number of the call that hangs.

    With `after`, it hangs once the server has acted: the answer exists and is not received.
    `counted` are the calls that count, None for all. `fails` may raise instead of a call.

    After a poll is cut off the server may go on with it, and then messages become invisible
    without a receiver: `end_polls` waits until no poll runs, and lets none begin.
    """

    hangs_at: int = -1
    after: bool = False
    counted: frozenset[str] | None = None
    fails: Callable[[str], None] = lambda _: None
    names: list[str] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # all, with parameters
    answers: list[tuple[str, Any]] = field(default_factory=list)
    hung: anyio.Event = field(default_factory=anyio.Event)
    _polls: int = 0
    _polls_ended: anyio.Event = field(default_factory=anyio.Event)
    _no_more_polls: bool = False

    async def end_polls(self) -> None:
        """Let no further receive begin, and wait for those in progress."""
        self._no_more_polls = True
        while self._polls:
            await self._polls_ended.wait()

    async def make(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - any answer
        """Make a call, or hang in it."""
        if name == "receive_message" and self._no_more_polls:
            return await anyio.sleep_forever()
        if self.counted is not None and name not in self.counted:
            return await self._call(name, call)
        self.names.append(name)
        self.fails(name)
        if len(self.names) - 1 != self.hangs_at:
            return await self._call(name, call)
        if self.after:
            await call()
        self.hung.set()
        return await anyio.sleep_forever()

    async def _call(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - any answer
        self._polls += name == "receive_message"
        try:
            answer = await call()
        finally:
            self._polls -= name == "receive_message"
            self._polls_ended.set()
            self._polls_ended = anyio.Event()
        self.answers.append((name, answer))
        return answer

    def received(self) -> list[list[Any]]:
        """Return the messages of every receive that was not empty."""
        found = [
            answer.get("Messages") for name, answer in self.answers if name == "receive_message"
        ]
        return [messages for messages in found if messages]


class Client:
    """A client whose every operation goes through `Calls`."""

    def __init__(self, client: Any, aws: "WatchedAws") -> None:  # noqa: ANN401 - any client
        self._client = client
        self._aws = aws

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any operation
        found = getattr(self._client, name)
        if name in _PAGERS:
            return found

        async def operation(**parameters: Any) -> Any:  # noqa: ANN401 - botocore's own
            calls = self._aws.calls
            calls.asked.append((name, parameters))
            return await calls.make(name, lambda: found(**parameters))

        return operation


class WatchedAws(Aws):
    """A source of clients whose calls go through `calls`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.calls = Calls()

    @asynccontextmanager
    async def _open(self, *arguments: Any, **more: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - as there
        async with super()._open(*arguments, **more) as client:
            yield Client(client, self)
