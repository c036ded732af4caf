"""The ECS agent as a container sees it: one endpoint, which is strict about requests.

Sources: ECS developer guide, "Task scale-in protection endpoint" (shapes and errors); the agent's
own handler, amazon-ecs-agent (which refuses unknown members, and answers failures with HTTP 200).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import anyio
import orjson
from aiohttp import web

TASK = "arn:aws:ecs:eu-west-1:123456789012:task/asyncbuild/1234567890abcdef0"
_PATH = "/api/container-1/task-protection/v1/state"


def error(code: str, message: str = "", *, status: int = 400) -> web.Response:
    """Return an exception of the call that the agent made."""
    body = {"requestID": "r-1", "error": {"Arn": TASK, "Code": code, "Message": message}}
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def failure(reason: str) -> web.Response:
    """Return a failure for the task, which has HTTP status 200."""
    body = {"failure": {"Arn": TASK, "Detail": None, "Reason": reason}}
    return web.Response(body=orjson.dumps(body), content_type="application/json")


@dataclass
class Agent:
    """A stand-in of the agent.

    `asked` has the minutes of protection in order, or None for its end.
    """

    uri: str = ""
    asked: list[int | None] = field(default_factory=list)
    refused: int = 0
    faults: list[str] = field(default_factory=list)
    answer: web.Response | None = None  # sent for every request, which has no effect
    times: int | None = None  # number of such answers
    _news: anyio.Event = field(default_factory=anyio.Event)

    @property
    def protected(self) -> bool:
        """Return whether the task is protected, expiry aside."""
        return bool(self.asked) and self.asked[-1] is not None

    @property
    def changes(self) -> list[int | None]:
        """Return the requests in order, without repetitions."""
        return [minutes for minutes, _ in groupby(self.asked)]

    async def wait(
        self, *, asked: int = 0, refused: int = 0, protected: bool | None = None
    ) -> None:
        """Wait until so many requests were made."""
        with anyio.fail_after(60):
            while (
                len(self.asked) < asked
                or self.refused < refused
                or (protected is not None and self.protected is not protected)
            ):
                await self._news.wait()

    async def put(self, request: web.Request) -> web.Response:
        """Answer UpdateTaskProtection."""
        try:
            if self.answer is not None and self.times != 0:
                self.times = None if self.times is None else self.times - 1
                self.refused += 1
                given = self.answer
                return web.Response(
                    body=given.body, status=given.status, content_type=given.content_type
                )
            return self._do(await request.read(), request.content_type)
        finally:
            self._news.set()
            self._news = anyio.Event()

    def _do(self, body: bytes, content_type: str) -> web.Response:
        wanted: dict[str, Any] = orjson.loads(body)
        enabled, minutes = wanted.get("ProtectionEnabled"), wanted.get("ExpiresInMinutes")
        if (
            content_type != "application/json"
            or not set(wanted) <= {"ProtectionEnabled", "ExpiresInMinutes"}
            or not isinstance(enabled, bool)
            or not (minutes is None or 1 <= minutes <= 2_880)
        ):
            self.faults.append(body.decode())
            return error("InvalidParameterException", "failed to decode request")
        self.asked.append((minutes or 120) if enabled else None)
        date = "2026-11-23T12:00:00Z" if enabled else None
        state = {"ExpirationDate": date, "ProtectionEnabled": enabled, "TaskArn": TASK}
        return web.json_response({"protection": state})


@asynccontextmanager
async def open_agent() -> AsyncIterator[Agent]:
    """Listen on loopback while inside; `uri` is what ECS_AGENT_URI would be."""
    agent = Agent()
    app = web.Application()
    app.router.add_put(_PATH, agent.put)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address: Any = runner.addresses[0]
        agent.uri = f"http://127.0.0.1:{address[1]}/api/container-1"
        yield agent
        assert agent.faults == []
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
