"""Tools for pushes that are over: their outcome, and dead letters that are sent back."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from support.service import environment, make_pushes, open_service, send

from asyncbuild.local.servers import journal
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.local.workload import event_of

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Open servers, queue, bucket; the project of the only repository is created later."""
    async with open_stack([]) as stack:
        yield stack


async def _call(stack: Stack, *arguments: str) -> tuple[int, str]:
    async with open_service(environment(stack), *arguments) as service:
        text = await service.read()
        return await service.wait(), text.decode()


async def test_a_dead_letter_is_read_sent_back_and_built(stack: Stack) -> None:
    """A push without a project is dead-lettered and explained.

    Sent back with a project, in order.
    """
    (pushes,) = await make_pushes(stack, repositories=1, pushes=3)
    for push in pushes:
        await stack.send(push)
    await send(stack, "nonsense", pushes[0].group)
    assert (await _call(stack, "drain"))[0] == 0

    code, listed = await _call(stack, "dead-letters", "list", "--json")
    letters = [orjson.loads(line) for line in listed.splitlines()]
    assert code == 0
    assert [letter["event_id"] for letter in letters] == [*(push.id for push in pushes), None]
    assert "project repository-000 does not exist" in letters[0]["reason"]

    code, told = await _call(stack, "explain", "repository-000", "--json")
    records = [orjson.loads(line) for line in told.splitlines()]
    assert code == 0
    assert [(record["event_id"], record["verdict"]) for record in records] == [
        (push.id, "rejected") for push in pushes
    ]

    stack.standin.add_project("repository-000")
    ids = [letter["id"] for letter in letters]
    assert (await _call(stack, "dead-letters", "send-back", *ids[:3]))[0] == 0
    assert (await _call(stack, "dead-letters", "drop", ids[3][:20]))[0] == 0
    assert (await _call(stack, "dead-letters", "list", "--json")) == (0, "")
    assert (await _call(stack, "drain"))[0] == 0
    started = [build.variables["EVENT_ID"] for build in journal.read(stack.journal)]
    assert started == [push.id for push in pushes]


async def test_an_overtaken_push_is_sent_back_only_by_force(stack: Stack) -> None:
    """A newer push of its ref was built: it is refused, and with --force it is built after all."""
    (pushes,) = await make_pushes(stack, repositories=1, pushes=6)
    old, new = [push for push in pushes if push.ref == "refs/heads/main"][:2]
    events: list[dict[str, Any]] = [event_of(old), event_of(new)]
    events[0]["time"], events[1]["time"] = "2026-11-01T10:00:00Z", "2026-11-01T11:00:00Z"
    await send(stack, orjson.dumps(events[0]).decode(), old.group)
    assert (await _call(stack, "drain"))[0] == 0
    stack.standin.add_project("repository-000")
    await send(stack, orjson.dumps(events[1]).decode(), new.group)
    assert (await _call(stack, "drain"))[0] == 0

    code, _ = await _call(stack, "dead-letters", "send-back", "--all")
    assert code == 1
    assert (await _call(stack, "dead-letters", "send-back", "--all", "--force"))[0] == 0
    assert (await _call(stack, "drain"))[0] == 0
    started = [build.variables["EVENT_ID"] for build in journal.read(stack.journal)]
    assert started == [new.id, old.id]


async def test_a_late_push_is_stale_and_recorded(stack: Stack) -> None:
    """Events arrive in reverse: ancestry decides, the older commit is not built."""
    stack.standin.add_project("repository-000")
    (pushes,) = await make_pushes(stack, repositories=1, pushes=6)
    old, new = [push for push in pushes if push.ref == "refs/heads/main"][:2]
    for push, time in ((new, "2026-11-01T11:00:00Z"), (old, "2026-11-01T10:00:00Z")):
        event = {**event_of(push), "time": time}
        await send(stack, orjson.dumps(event).decode(), push.group)
    assert (await _call(stack, "drain"))[0] == 0
    started = [build.variables["EVENT_ID"] for build in journal.read(stack.journal)]
    assert started == [new.id]
    _, told = await _call(
        stack, "explain", "repository-000", (old.commit or "")[:12], "--json", "--days", "999"
    )
    (record,) = [orjson.loads(line) for line in told.splitlines()]
    assert record["verdict"] == "stale"
    assert str(new.commit) in record["reason"]


async def test_a_waiting_push_is_found_in_the_service(stack: Stack) -> None:
    """CodeBuild is full: explain asks the service, which says what the push waits for."""
    stack.standin.add_project("repository-000")
    stack.standin.running_limit = 0
    ((push,),) = await make_pushes(stack, repositories=1, pushes=1)
    async with open_service(environment(stack)) as service:
        address = str((await service.wait_logged("status.listening"))["address"])
        code, told = await _call(stack, "explain", "repository-000", "--address", address)
        assert code == 1
        assert "does not hold it" in told
        await stack.send(push)
        await service.wait_logged("push.start.failed")
        code, told = await _call(stack, "explain", "repository-000", "--address", address)
        assert code == 0
        assert f"waiting      {str(push.commit)[:10]}  {push.ref}" in told
        assert "AccountLimitExceededException" in told
        since = ("--since", "10m", "--json", "--address", address)
        code, told = await _call(stack, "explain", *since)
        assert [orjson.loads(line)["verdict"] for line in told.splitlines()] == ["waiting"]
        stack.standin.running_limit = None
        await service.wait_logged("push.built")
        code, told = await _call(stack, "explain", "--slowest", "--since", "1h")
    assert code == 0
    assert told.splitlines()[1].split()[:2] == ["repository-000", "1"]


async def test_a_repository_without_pushes_is_unknown(stack: Stack) -> None:
    """Exit code 1, and a hint where to look."""
    code, told = await _call(stack, "explain", "nowhere")
    assert code == 1
    assert "No record of nowhere" in told
