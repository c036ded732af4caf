"""Requests to ECS not to stop this task while it has work in flight (task scale-in protection).

Without protection, scaling in and deployments stop any task of the service. Nothing is lost then:
pushes in flight are settled or released. But a half-made archive is made once more elsewhere.

The agent of ECS is asked, at `$ECS_AGENT_URI/task-protection/v1/state` (ECS developer guide, "Task
scale-in protection endpoint"). Protection expires by itself, so a process that hangs or is killed
does not keep its task for long; while there is work it is renewed. It ends a moment after the last
work, so that it does not flap between two pushes. A task that is never idle would hold up
deployments endlessly, as they wait for protected tasks: so once in a while it does without.

Protection is optional: each failure is logged once and tried again, and never stops work.
"""

import math
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import anyio
import orjson

from asyncbuild.domain.errors import Retry
from asyncbuild.domain.events.service_events import (
    ProtectionBug,
    ProtectionChanged,
    ProtectionFailed,
)
from asyncbuild.runtime.bell import Bell
from asyncbuild.runtime.emit import emit

_PATH: Final = "/task-protection/v1/state"
_LARGEST_ANSWER_BYTES: Final = 64 * 1024
_REMEDIES: Final[Mapping[str, str]] = {
    "AccessDeniedException": "allow ecs:UpdateTaskProtection on its own tasks in the task's role",
    "TASK_NOT_VALID": "only tasks of a service can be protected; no harm otherwise",
    "RequestError": "the agent may need a VPC endpoint for ECS",
    "RequestCanceled": "the agent may need a VPC endpoint for ECS",
}


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Durations of the protection.

    `expires_minutes` is how long a process that is gone may still protect its task: 1 to 2,880
    (ECS API, UpdateTaskProtection, expiresInMinutes). Three renewals may fail before that.
    """

    expires_minutes: int = 15
    renew_seconds: float = 240
    linger_seconds: float = 60
    retry_seconds: float = 5  # doubles with each failure, up to `renew_seconds`
    answer_seconds: float = 10
    longest_seconds: float = 3600  # of protection without a break
    break_seconds: float = 120
    last_seconds: float = 5  # for the release at the end of the process


class Protection:
    """Counter of the work in flight."""

    def __init__(self) -> None:
        self._held = 0
        self._idle_since = -math.inf
        self._changed = Bell()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Count as work in flight while inside. May be entered many times at once."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    @property
    def idle_since(self) -> float | None:
        """Time when the last work ended, by the event loop's clock; None while there is some."""
        return None if self._held else self._idle_since

    async def wait_changed(self, seconds: float) -> None:
        """Wait until work begins or ends, at most `seconds`."""
        with anyio.move_on_after(seconds):
            await self._changed.wait()

    def _count(self, change: int) -> None:
        self._held += change
        if not self._held:
            self._idle_since = anyio.current_time()
        self._changed.ring()


@asynccontextmanager
async def open_protection(
    agent_uri: str | None, *, rhythm: Rhythm | None = None
) -> AsyncIterator[Protection]:
    """Protect the task while work is held. Has no effect outside of ECS, which has the agent.

    Args:
        agent_uri: `ECS_AGENT_URI`, which the agent gives every container; None or empty elsewhere.
        rhythm: Durations of the protection; None for the defaults.
    """
    protection, rhythm = Protection(), rhythm or Rhythm()
    if not agent_uri:
        yield protection
        return
    timeout = aiohttp.ClientTimeout(total=rhythm.answer_seconds)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        keeper = _Keeper(protection, _Agent(session, agent_uri.rstrip("/") + _PATH), rhythm)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keeper.run)
                try:
                    yield protection
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(rhythm.last_seconds, shield=True):
                await keeper.end()


class _Agent:
    """Endpoint of the ECS agent."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def protect(self, minutes: int | None) -> None:
        """Protect the task for `minutes`; None ends the protection.

        Raises:
            Retry: The agent, or ECS behind it, did not do it.
        """
        wanted: dict[str, object] = {"ProtectionEnabled": minutes is not None}
        if minutes is not None:
            wanted["ExpiresInMinutes"] = minutes
        try:
            async with self._session.put(self._url, json=wanted) as answer:
                body = await answer.content.read(_LARGEST_ANSWER_BYTES)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Retry(f"the ECS agent does not answer: {type(error).__name__}") from error
        code, says = refusal_of(status, body, enabled=minutes is not None)
        if code:
            raise Retry(
                f"ECS does not change the task's protection: {code}: {says}".rstrip(": "),
                remedy=_REMEDIES.get(code, ""),
            )


def refusal_of(status: int, body: bytes, *, enabled: bool) -> tuple[str, str]:
    """Return code and message of the agent's refusal; two empty texts if the change was made.

    Its answer is a JSON object with one of `protection`, `failure` (HTTP 200, too) and `error`
    (developer guide, as above). Its rate limit answers in plain text.

    Args:
        status: HTTP status.
        body: Body of the answer.
        enabled: Whether protection was to be switched on.
    """
    try:
        answer: Any = orjson.loads(body)
    except ValueError:
        return f"HTTP {status}", body[:200].decode("utf-8", "replace").strip()
    answer = answer if isinstance(answer, dict) else {}
    error, failure = answer.get("error"), answer.get("failure")
    if isinstance(error, dict):
        return str(error.get("Code") or f"HTTP {status}"), str(error.get("Message") or "")
    if isinstance(failure, dict):
        return str(failure.get("Reason") or "failure"), str(failure.get("Detail") or "")
    protection = answer.get("protection")
    if isinstance(protection, dict) and protection.get("ProtectionEnabled") is enabled:
        return "", ""
    return f"HTTP {status}", "no answer that the documentation knows"


class _Keeper:
    """Loop that turns work in flight into protection."""

    def __init__(self, protection: Protection, agent: _Agent, rhythm: Rhythm) -> None:
        self._work = protection
        self._agent = agent
        self._rhythm = rhythm
        self._asked = False  # for protection, and since then not for its end
        self._failures = 0

    async def run(self) -> None:
        """Wait for work, protect it and release it, until cancelled."""
        try:
            while True:
                while self._work.idle_since is not None:
                    await self._work.wait_changed(math.inf)
                if await self._keep():
                    await self._release(while_idle=True)
                else:
                    await self._release(while_idle=False)
                    await anyio.sleep(self._rhythm.break_seconds)
        except Exception as error:  # noqa: BLE001 - a bug must not stop work: it is reported
            emit(ProtectionBug(), error=error)

    async def end(self) -> None:
        """Release the protection when the process ends: nothing is in flight any more."""
        if self._asked:
            await self._tell(None)

    async def _keep(self) -> bool:
        """Protect until nothing was in flight for the linger time; False if that takes too long."""
        break_at = anyio.current_time() + self._rhythm.longest_seconds
        while anyio.current_time() < break_at:
            done = await self._tell(self._rhythm.expires_minutes)
            pause = self._rhythm.renew_seconds if done else self._pause_seconds()
            if await self._wait_quiet(min(anyio.current_time() + pause, break_at)):
                return True
        return False

    async def _release(self, *, while_idle: bool) -> None:
        """Release the protection; stop trying once it has expired by itself."""
        expires_at = anyio.current_time() + 60 * self._rhythm.expires_minutes
        while self._asked and anyio.current_time() < expires_at:
            if await self._tell(None):
                return
            if not while_idle:
                await anyio.sleep(self._pause_seconds())
                continue
            await self._work.wait_changed(self._pause_seconds())
            if self._work.idle_since is None:
                return

    async def _wait_quiet(self, until: float) -> bool:
        """Return whether nothing was in flight for the linger time, before `until`."""
        while True:
            now, idle_since = anyio.current_time(), self._work.idle_since
            quiet_at = math.inf if idle_since is None else idle_since + self._rhythm.linger_seconds
            if now >= quiet_at:
                return True
            if now >= until:
                return False
            await self._work.wait_changed(min(until, quiet_at) - now)

    async def _tell(self, minutes: int | None) -> bool:
        self._asked = self._asked or minutes is not None
        try:
            await self._agent.protect(minutes)
        except Retry as error:
            self._failures += 1
            if self._failures == 1:  # once, until it works again
                emit(ProtectionFailed(reason=error.reason, remedy=error.remedy))
            return False
        emit(ProtectionChanged(minutes=minutes or 0))
        self._asked = minutes is not None
        self._failures = 0
        return True

    def _pause_seconds(self) -> float:
        longest = self._rhythm.renew_seconds
        return min(longest, self._rhythm.retry_seconds * 2.0 ** min(self._failures - 1, 20))
