"""The working service observed from outside: HTTP, log lines, readiness."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.events import body
from support.git_http import open_git_server
from support.listening import line_of
from support.service import make_pushes, send, wait_settled
from support.wait import PATIENCE_SECONDS

from asyncbuild.commands import serve as service
from asyncbuild.config import Settings
from asyncbuild.domain.events.catalogue import EVENTS, PUSH_FIELDS
from asyncbuild.domain.events.event import Emitted
from asyncbuild.domain.events.stage_events import STAGES
from asyncbuild.local.stack import Stack, open_stack
from asyncbuild.runtime import log as logs
from asyncbuild.runtime.emit import subscribed
from asyncbuild.status.document import parse
from asyncbuild.status.schema import Status

pytestmark = pytest.mark.timeout(300)


@dataclass(slots=True)
class Watched:
    """A service in this process: its address, and every line it logged."""

    address: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)
    listening: anyio.Event = field(default_factory=anyio.Event)

    def hear(self, told: Emitted) -> None:
        """Keep a line, and the address that one of them contains."""
        line = line_of(told)
        self.lines.append(line)
        if line["event"] == "status.listening":
            self.address = line["address"]
            self.listening.set()

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(self.address + path) as answer,
        ):
            return answer.status, await answer.read()

    async def status(self) -> Status:
        """Return the status document."""
        return parse((await self.get("status.json"))[1])


@asynccontextmanager
async def watching(settings: Settings) -> AsyncIterator[Watched]:
    """Run the service for as long as this is open."""
    watched, stop = Watched(), anyio.Event()
    logs.mute()

    async def run() -> None:
        with subscribed(watched.hear):
            await service.run(settings, stop=stop, signals=())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        with anyio.fail_after(PATIENCE_SECONDS):
            await watched.listening.wait()
        yield watched
        stop.set()


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Open servers, queue, bucket and projects for one test."""
    async with open_stack([f"repository-{number:03d}" for number in range(3)]) as stack:
        yield stack


async def test_a_working_service_seen_from_outside(stack: Stack) -> None:
    """Six pushes and a message that is not one: every endpoint and every line shows them."""
    lanes = await make_pushes(stack, repositories=3, pushes=2)
    pushes = [push for lane in lanes for push in lane]
    async with watching(stack.settings) as watched:
        for push in pushes:
            await stack.send(push)
        await send(stack, body(commitId="--output=x"), "hostile")
        await wait_settled(stack)
        with anyio.fail_after(PATIENCE_SECONDS):
            while (await watched.status()).lanes:  # noqa: ASYNC110 - seen from outside
                await anyio.sleep(0.05)
        await _check_endpoints(watched)
    _check_lines(watched, [push.id for push in pushes])


async def _check_endpoints(watched: Watched) -> None:
    assert await watched.get("healthz") == (200, b"alive\n")
    code, said = await watched.get("readyz")
    assert code == 200, said
    status = await watched.status()
    assert (status.ready, status.groups_in_work, status.consumers.free) == (True, 0, 8)
    assert status.totals.pushes == {"built": 6, "rejected": 1}
    assert len(status.recent) == 6
    assert all(each.stages.keys() == {"fetch", "archive", "start"} for each in status.recent)
    (letter,) = status.dead_letters
    assert (letter.kind, letter.repository) == ("reject", None)
    assert sum(bucket.built for bucket in status.series.buckets) == 6
    code, metrics = await watched.get("metrics")
    samples = {
        (s.name, *sorted(s.labels.values())): s.value
        for family in text_string_to_metric_families(metrics.decode())
        for s in family.samples
    }
    assert samples["asyncbuild_pushes_total", "built"] == 6
    assert samples["asyncbuild_stage_seconds_count", "finished", "upload"] == 6
    assert samples["asyncbuild_lanes", "working"] == 0
    code, page = await watched.get("")
    assert code == 200
    assert len(re.findall(rb"</span>started", page)) == 6
    code, _ = await watched.get("healthz", Host="rebound.example")
    assert code == 403


def _check_lines(watched: Watched, ids: list[str]) -> None:
    """Check that each stage of each push begins once and ends once, with its fields."""
    begun, ended = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for line in watched.lines:
        event = EVENTS[line["event"]]
        assert line["level"] in event.levels, line
        about = {*PUSH_FIELDS} if event.of_push else set()
        fields = line.keys() - {"event", "level"}
        assert about <= fields, line
        assert fields <= {*event.field_names, *PUSH_FIELDS}, line
        stage, _, what = line["event"].rpartition(".")
        if stage in STAGES:
            (begun if what == "started" else ended)[line["event_id"], stage] += 1
            assert (what == "started") != ("duration_seconds" in line), line
    assert begun == ended
    assert begun == Counter((event_id, stage) for event_id in ids for stage in STAGES)


async def test_a_failed_stage_is_logged(stack: Stack) -> None:
    """A missing repository: fetch and the prepare around it fail, once for each attempt."""
    event = orjson.loads(body())
    event["detail"]["repositoryName"] = "nowhere"
    async with watching(stack.settings) as watched:
        await send(stack, orjson.dumps(event).decode(), "nowhere")
        await wait_settled(stack)
    failed = [line for line in watched.lines if line["event"].endswith(".failed")]
    tries = max(1, len(failed) // 2)
    assert [line["event"] for line in failed] == [
        "push.fetch.failed",
        "push.prepare.failed",
    ] * tries
    assert {line["event_id"] for line in failed} == {event["id"]}
    (dead,) = (line for line in watched.lines if line["event"] == "push.dead-lettered")
    assert dead["attempts"] == tries


async def test_an_unreachable_git_server_is_shown(stack: Stack) -> None:
    """A third state while it lasts, then ready again; each failed attempt is one warning."""
    lanes = await make_pushes(stack, repositories=3, pushes=1)
    async with open_git_server(stack.directory / "remotes", prefix="/") as server:
        server.behaviour.status = 502
        git = {"remote": f"{server.url}/{{repository}}"}
        settings = stack.settings.model_copy(
            update={"git": stack.settings.git.model_copy(update=git)}
        )
        async with watching(settings) as watched:
            for (push,) in lanes:
                await stack.send(push)
            with anyio.fail_after(PATIENCE_SECONDS):
                while True:
                    code, text = await watched.get("readyz")
                    if b"3 pushes of 3 repositories wait" in text:
                        break
                    await anyio.sleep(0.02)
            assert code == 200
            assert text.startswith(b"outage: git, ")
            assert (await watched.status()).outages[0].peer == "git"
            server.behaviour.status = None
            await wait_settled(stack)
            assert (await watched.get("readyz"))[1].startswith(b"ready\n")
    told = [line for line in watched.lines if line["level"] == "warning"]
    assert {line["event"] for line in told} == {"push.prepare.failed"}
    assert {(line["peer"], line["stage"]) for line in told} == {("git", "push.fetch")}


async def test_events_are_streamed_as_they_happen(stack: Stack) -> None:
    """The stream sends every part, then those that changed, and says when it ends."""
    lanes = await make_pushes(stack, repositories=1, pushes=1)
    seen: list[set[str]] = []
    async with (
        watching(stack.settings) as watched,
        aiohttp.ClientSession() as session,
        session.get(watched.address + "events") as answer,
    ):
        assert answer.content_type == "text/event-stream"
        seen.append(set(await _next_event(answer)))
        await stack.send(lanes[0][0])
        with anyio.fail_after(PATIENCE_SECONDS):
            while True:
                parts = await _next_event(answer)
                seen.append(set(parts))
                if "</span>started" in parts.get("recent", ""):
                    break
    assert seen[0] == {
        "title",
        "top",
        "figures",
        "plots",
        "lanes",
        "dead_letters",
        "recent",
        "troubles",
        "stores",
    }
    assert all("troubles" not in parts for parts in seen[1:])


async def _next_event(answer: aiohttp.ClientResponse) -> dict[str, str]:
    while not (line := await answer.content.readline()).startswith(b"data: "):
        assert line, "the stream ended"
    return dict(orjson.loads(line[6:]))


async def test_a_taken_port_stops_no_push(stack: Stack) -> None:
    """An error with a remedy is logged, and the service goes on."""
    lanes = await make_pushes(stack, repositories=1, pushes=1)
    async with watching(stack.settings) as first:
        taken = first.address.removeprefix("http://").removesuffix("/")
        other = stack.settings.model_copy(
            update={"status": stack.settings.status.model_copy(update={"listen": taken})}
        )
        second, stop = Watched(), anyio.Event()

        async def run() -> None:
            with subscribed(second.hear):
                await service.run(other, stop=stop, signals=())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await stack.send(lanes[0][0])
            await wait_settled(stack)
            with anyio.fail_after(PATIENCE_SECONDS):
                while not any(line["event"] == "service.started" for line in second.lines):  # noqa: ASYNC110 - a log has no event
                    await anyio.sleep(0.02)
            stop.set()
    (line,) = (line for line in second.lines if line["event"] == "status.unavailable")
    assert (line["level"], taken in line["reason"]) == ("error", True)
