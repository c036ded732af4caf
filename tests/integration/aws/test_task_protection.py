"""Scale-in protection, against an agent on loopback with the documented behaviour."""

from collections.abc import AsyncIterator
from contextlib import ExitStack

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web
from support.ecs_agent import Agent, error, failure, open_agent
from support.listening import hearing
from support.proxy import closed_port
from support.wait import PATIENCE_SECONDS, wait_until

from asyncbuild.aws.task_protection import Rhythm, open_protection, refusal_of

# Quick, with the proportions of the real rhythm.
RHYTHM = Rhythm(renew_seconds=30, linger_seconds=0.2, retry_seconds=0.01, last_seconds=60)


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """Open an agent that obeys."""
    async with open_agent() as agent:
        yield agent


async def test_work_is_protected_until_shortly_after_its_end(agent: Agent) -> None:
    """Protection lasts to a moment after the last work; the release is sent once."""
    async with open_protection(agent.uri, rhythm=RHYTHM) as protection:
        with protection.hold():
            await agent.wait(protected=True)
            assert agent.asked == [15]
        await agent.wait(protected=False)
    assert agent.changes == [15, None]


async def test_the_end_of_one_work_keeps_the_protection_of_others(agent: Agent) -> None:
    """Only the last work to end releases the task."""
    rhythm = Rhythm(renew_seconds=0.1, linger_seconds=0.15)
    async with open_protection(agent.uri, rhythm=rhythm) as protection:
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(protection.hold())
            await agent.wait(protected=True)
            with protection.hold():
                pass
            renewed = len(agent.asked)
            await agent.wait(asked=renewed + 4)  # a release would have happened by now
            assert agent.changes == [15]
        await agent.wait(protected=False)


async def test_protection_does_not_flap(agent: Agent) -> None:
    """Work that follows soon enough finds the task still protected."""
    async with open_protection(
        agent.uri, rhythm=Rhythm(linger_seconds=600, renew_seconds=600, last_seconds=60)
    ) as protection:
        for _ in range(20):
            with protection.hold():
                await agent.wait(protected=True)
            await anyio.sleep(0.001)
        assert agent.asked == [15]
    assert agent.changes == [15, None]  # the process ends: nothing is in flight


async def test_protection_is_renewed(agent: Agent) -> None:
    """Long before it expires, as long as there is work."""
    rhythm = Rhythm(renew_seconds=0.02, linger_seconds=0.1, expires_minutes=7)
    async with open_protection(agent.uri, rhythm=rhythm) as protection:
        with protection.hold():
            await agent.wait(asked=4)
        await agent.wait(protected=False)
    assert agent.changes == [7, None]
    assert 3 * Rhythm().renew_seconds < 60 * Rhythm().expires_minutes


async def test_a_task_that_is_never_idle_is_released_now_and_then(agent: Agent) -> None:
    """Deployments wait for protected tasks; so at times this one can be stopped."""
    rhythm = Rhythm(longest_seconds=0.1, break_seconds=0.1, renew_seconds=30)
    async with open_protection(agent.uri, rhythm=rhythm) as protection:
        with protection.hold():
            await agent.wait(asked=4)
    assert agent.changes[:4] == [15, None, 15, None]


@pytest.mark.parametrize(
    ("answer", "says", "remedy"),
    [
        (failure("TASK_NOT_VALID"), "TASK_NOT_VALID", "only tasks of a service"),
        (error("AccessDeniedException", "no"), "AccessDeniedException", "UpdateTaskProtection"),
        (error("ThrottlingException", "Rate exceeded"), "Rate exceeded", ""),
        (error("RequestCanceled", "Timed out", status=504), "Timed out", "VPC endpoint"),
        (web.Response(text="You have reached maximum request limit", status=429), "429", ""),
        (web.Response(text="<html>", status=502), "HTTP 502", ""),
        (web.json_response({}), "no answer that the documentation knows", ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_refusal_is_logged_once_and_retried(
    agent: Agent, answer: web.Response, says: str, remedy: str
) -> None:
    """Work goes on meanwhile; once the agent accepts, the task is protected."""
    agent.answer, agent.times = answer, 3
    with hearing() as lines:
        async with open_protection(agent.uri, rhythm=RHYTHM) as protection:
            with protection.hold():
                await agent.wait(refused=3, protected=True)
            await agent.wait(protected=False)
    (line,) = [line for line in lines if line["event"] == "protection.failed"]
    assert line["level"] == "warning"
    assert says in line["reason"]
    assert remedy in line["remedy"]


async def test_an_unreachable_agent_stops_nothing() -> None:
    """Neither work nor the end of the process waits for it."""
    with closed_port() as port, hearing() as lines, anyio.fail_after(PATIENCE_SECONDS):
        uri = f"http://127.0.0.1:{port}/api/container-1"
        async with open_protection(uri, rhythm=RHYTHM) as protection:
            with protection.hold():
                await wait_until(
                    lambda: any(line["event"] == "protection.failed" for line in lines)
                )
    (line,) = [line for line in lines if line["event"] == "protection.failed"]
    assert "does not answer" in line["reason"]
    assert "container-1" not in line["reason"]


async def test_a_failed_release_is_retried(agent: Agent) -> None:
    """Retries go on until the task can be stopped."""
    async with open_protection(agent.uri, rhythm=RHYTHM) as protection:
        with protection.hold():
            await agent.wait(protected=True)
            agent.answer, agent.times = error("ServerException", status=500), 2
        await agent.wait(refused=2, protected=False)
    assert agent.changes == [15, None]


async def test_new_work_ends_a_failing_release(agent: Agent) -> None:
    """The task is protected again, and not released during the work."""
    async with open_protection(agent.uri, rhythm=RHYTHM) as protection:
        with protection.hold():
            await agent.wait(protected=True)
            agent.answer = error("ServerException", status=500)
        await agent.wait(refused=1)
        with protection.hold():
            agent.answer = None
            await agent.wait(asked=2)
            assert agent.asked[-1] == 15


@pytest.mark.parametrize("uri", [None, ""])
async def test_outside_ecs_nothing_is_sent(uri: str | None) -> None:
    """No agent, no calls, no log."""
    with hearing() as lines:
        async with open_protection(uri) as protection:
            with protection.hold():
                await anyio.lowlevel.checkpoint()
    assert lines == []


async def test_an_error_of_the_service_is_raised(agent: Agent) -> None:
    """Protection does not hide the error that ends the service, and the task is released."""
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="over")):
        async with open_protection(agent.uri, rhythm=RHYTHM) as protection:
            with protection.hold():
                await agent.wait(protected=True)
                raise RuntimeError("over")
    assert agent.changes == [15, None]


def test_only_the_requested_state_counts() -> None:
    """An answer with the opposite state is not accepted."""
    body = b'{"protection":{"ExpirationDate":null,"ProtectionEnabled":false,"TaskArn":"a"}}'
    assert refusal_of(200, body, enabled=False) == ("", "")
    assert refusal_of(200, body, enabled=True)[0] == "HTTP 200"
