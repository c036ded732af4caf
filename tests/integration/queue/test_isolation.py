"""A forge that fails, hangs or asks for long waits delays only its own repositories."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from aiohttp import web
from support.git_http import GitServer, open_git_server
from support.listening import hearing
from support.repositories import SourceRepository
from support.service import read_dead_letters
from support.wait import wait_until
from support.webhooks import SECRET, ZEROS, headers, payload

from asyncbuild import config
from asyncbuild.aws.session import Aws
from asyncbuild.commands.serve import open_consumer
from asyncbuild.config import Settings
from asyncbuild.domain.repository import ForgeKind
from asyncbuild.local.servers import journal
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.queue.consumer import Consumer

pytestmark = pytest.mark.timeout(300)

_GOOD, _BAD = "git.good.example", "git.bad.example"
_numbers = count(1)


@dataclass
class Forge:
    """A server from which nothing can be fetched.

    Attributes:
        hangs: It takes requests and does not answer them.
        asked: Paths that were asked for.
    """

    hangs: bool = False
    url: str = ""
    asked: list[str] = field(default_factory=list)
    release: anyio.Event = field(default_factory=anyio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer with a failure."""
        self.asked.append(request.path)
        if self.hangs:
            await self.release.wait()
        return web.Response(status=503, headers={"Retry-After": "9" * 12})


@asynccontextmanager
async def _open_forge(*, hangs: bool) -> AsyncIterator[Forge]:
    forge = Forge(hangs=hangs)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", forge.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        forge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield forge
    finally:
        forge.release.set()
        await runner.cleanup()


@dataclass
class World:
    """The stack, two forges, and pushes to both."""

    stack: Stack
    good: GitServer
    forge: Forge

    def settings(self, **sections: Any) -> Settings:  # noqa: ANN401 - sections of settings
        """Return settings with two `[[hosts]]`, and waits short enough for a test."""
        own = self.stack.settings.model_dump(mode="json", exclude_defaults=True)
        remotes = {_GOOD: f"{self.good.url}/{{owner}}/{{repository}}.git"}
        remotes[_BAD] = f"{self.forge.url}/{{owner}}/{{repository}}.git"
        own["hosts"] = [
            {"host": host, "kind": "github", "remote": remote, "webhook_secret": "env:WEBHOOK"}
            for host, remote in remotes.items()
        ]
        own["rules"] = [{"repository": "*", "action": "build", "project": "web"}]
        own["queue"] |= {"wait_seconds": 1, "polls": 1}
        for name, section in sections.items():
            own[name] = {**own.get(name, {}), **section} if isinstance(section, dict) else section
        return config.load(None, own)

    async def push(self, host: str, name: str, commit: str, old: str = ZEROS) -> str:
        """Send one push; return the id of its delivery."""
        made = payload(ForgeKind.GITHUB)
        made["repository"]["full_name"] = f"acme/{name}"
        body = orjson.dumps(made | {"before": old, "after": commit})
        id_ = f"{next(_numbers):08d}-cc78-11e3-81ab-4c9367dc0958"
        sent = {**headers(ForgeKind.GITHUB, body), "Webhook-Host": host, "X-GitHub-Delivery": id_}
        await self.stack.sqs.send_message(
            QueueUrl=self.stack.settings.queue.url,
            MessageBody=body.decode(),
            MessageGroupId=f"{host}/{name}",
            MessageAttributes={
                key: {"DataType": "String", "StringValue": value} for key, value in sent.items()
            },
        )
        return id_

    async def push_well(self, name: str, number: int = 1) -> list[str]:
        """Push commits to a repository that can be fetched; return them."""
        commits = SourceRepository(self.good.root / "acme" / f"{name}.git").commits(number)
        for old, commit in zip([ZEROS, *commits], commits, strict=False):
            await self.push(_GOOD, name, commit, old)
        return commits

    def built(self) -> list[str]:
        """Return commits, in the order of their builds."""
        return [each.variables["COMMIT_ID"] for each in journal.read(self.stack.journal)]


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """Open a stack; the parameter says whether the bad forge hangs."""
    monkeypatch.setenv("WEBHOOK", SECRET)
    hangs = getattr(request, "param", False)
    async with (
        open_stack(["web"]) as stack,
        open_git_server(tmp_path, prefix="/") as good,
        _open_forge(hangs=hangs) as forge,
    ):
        yield World(stack, good, forge)


@asynccontextmanager
async def _running(settings: Settings) -> AsyncIterator[Consumer]:
    async with (
        open_consumer(settings, Aws(settings)) as consumer,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(consumer.run)
        yield consumer
        consumer.expire()


async def _push_badly(world: World, repositories: int) -> None:
    for n in range(repositories):
        await world.push(_BAD, f"r{n}", "1" * 40)


async def test_more_failing_repositories_than_lanes_stop_no_other(world: World) -> None:
    """Failing lanes are paused or released; each keeps its message and its attempts."""
    settings = world.settings(lanes={"most": 2, "busy_most_seconds": 1})
    await _push_badly(world, 7)
    async with _running(settings):
        await wait_until(lambda: len({path for path in world.forge.asked if "info" in path}) >= 2)
        commits = await world.push_well("good", 3)
        await wait_until(lambda: world.built() == commits)
    assert await world.stack.count_waiting() == 7
    assert not await read_dead_letters(world.stack)


@pytest.mark.parametrize("world", [True], indirect=True)
async def test_a_hanging_forge_uses_its_share_of_the_consumers(world: World) -> None:
    """One of two; other forges use the other one."""
    settings = world.settings(consumers=2, lanes={"most": 2, "forge_share": 0.5})
    await _push_badly(world, 4)
    async with _running(settings):
        await wait_until(lambda: len(world.forge.asked) > 0)
        commits = await world.push_well("good", 3)
        await wait_until(lambda: world.built() == commits)
        assert len(set(world.forge.asked)) == 1
        world.forge.release.set()


@pytest.mark.parametrize("world", [True], indirect=True)
async def test_a_hanging_forge_leaves_memory_to_fetches_of_others(world: World) -> None:
    """Each of its fetches has its share of git's memory for as long as the server is silent."""
    await _push_badly(world, 6)
    async with _running(world.settings(consumers=8)):
        await wait_until(lambda: len(set(world.forge.asked)) >= 2)
        commits = await world.push_well("good", 3)
        await wait_until(lambda: world.built() == commits)
        world.forge.release.set()


async def test_a_wait_that_is_too_long_ends_in_the_queue_in_order(world: World) -> None:
    """The repository is hidden for a while, and built when its project has room again."""
    lanes = {"longest_wait_seconds": 1, "retry_most_seconds": 1, "busy_most_seconds": 0.2}
    world.stack.standin.running_limit = 0
    commits = await world.push_well("good", 3)
    with hearing() as lines:
        async with _running(world.settings(lanes=lanes)):
            await wait_until(lambda: bool(_hidden(lines)))
            world.stack.standin.running_limit = None
            await wait_until(lambda: world.built() == commits)
    (first, *_) = _hidden(lines)
    assert first["messages"] == 3
    assert first["group"] == f"{_GOOD}/good"
    assert "limit" in first["reason"].lower()
    assert not await read_dead_letters(world.stack)


async def test_a_wait_that_is_too_long_is_dead_lettered_at_the_last_receive(
    world: World,
) -> None:
    """The queue would dead-letter the message by itself, without a reason."""
    await _set_max_receive_count(world.stack, 1)
    await _push_badly(world, 1)
    lanes = {"longest_wait_seconds": 1, "busy_most_seconds": 0.2}
    async with _running(world.settings(lanes=lanes)):
        with anyio.fail_after(120):
            while await world.stack.count_waiting():  # noqa: ASYNC110 - a queue raises no event
                await anyio.sleep(0.05)
    (dead,) = await read_dead_letters(world.stack)
    told = {name: each["StringValue"] for name, each in dead["MessageAttributes"].items()}
    assert told["ErrorKind"] == "outage"
    assert told["Reason"].startswith("waited for ")
    assert "returned error: 503" in told["Reason"]


def _hidden(lines: Sequence[Any]) -> list[Any]:
    return [each for each in lines if each.get("hidden_seconds")]


async def _set_max_receive_count(stack: Stack, most: int) -> None:
    url = stack.settings.queue.url
    answer = await stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    policy = {**orjson.loads(answer["Attributes"]["RedrivePolicy"]), "maxReceiveCount": most}
    attributes: Any = {"RedrivePolicy": orjson.dumps(policy).decode()}
    await stack.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
