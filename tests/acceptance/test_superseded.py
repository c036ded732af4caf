"""Builds that a newer push of their branch has superseded, as a service's users see them."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import anyio
import orjson
import pytest
from aiohttp import web
from support.codepipeline_server import (
    CodePipelineStandin,
    open_codepipeline_standin,
    open_execution_events,
    pipeline_of,
)
from support.proxy import open_proxy, pass_on
from support.repositories import SourceRepository
from support.result_events import sweep_message
from support.service import Service, environment, open_service, wait_settled
from support.wait import PATIENCE_SECONDS, wait_until

from asyncbuild.builds.result_ledger import ResultLedger
from asyncbuild.domain.reports.commit_status import StatusState
from asyncbuild.domain.results.build_result import BuildResult, StartedId, StartedKind
from asyncbuild.local.forge.hosting import Hosting, open_hosting, status_of
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.event_sender import open_event_sender
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.local.verify import Pushed
from asyncbuild.local.workload import PushedRepository
from asyncbuild.storage.s3 import Store

pytestmark = pytest.mark.timeout(400)
_RUNNING: Final = Script(queued_seconds=0, build_seconds=3_600)
_AT_ONCE: Final = Script(queued_seconds=0, build_seconds=0)
_RULES: Final = (
    {"action": "build", "project": "test", "cancel_superseded": True, "final": False},
    {"action": "pipeline", "pipeline": "deploy", "cancel_superseded": True},
)
_DECLARED: Final = ("EVENT_ID", "COMMIT_ID", "BRANCH_NAME")
_ENDS: Final = frozenset({StatusState.SUCCESS, StatusState.ERROR})


@dataclass(slots=True)
class _Branch:
    """Branch `main` of a repository on the forge, with the commit that it is at."""

    hosting: Hosting
    source: SourceRepository
    remote: PushedRepository
    tip: str | None = None

    @property
    def stack(self) -> Stack:
        return self.hosting.cloud

    async def push(self) -> Pushed:
        """Move the branch to a new commit, and tell the service."""
        commit = self.source.commit({"a": str(self.tip).encode()})
        push = self.remote.pushed("refs/heads/main", commit, self.tip)
        self.tip = commit
        await self.hosting.send(push)
        return push

    def variables(self, pipelines: CodePipelineStandin) -> dict[str, str]:
        """Return the settings of the service."""
        settings = self.hosting.cloud.settings
        more = {
            name: getattr(settings, name).model_dump(mode="json", exclude_defaults=True)
            for name in ("results", "reports")
        }
        hosts = [each.model_dump(mode="json", exclude_unset=True) for each in settings.hosts]
        told = environment(self.stack, rules=_RULES, hosts=hosts, **more)
        return {**told, "ASYNCBUILD_PIPELINES__ENDPOINT_URL": pipelines.endpoint_url}

    def shown(self, push: Pushed, context: str) -> tuple[StatusState, str]:
        """Return state and description of the status that the forge shows for a commit."""
        kept = self.hosting.forge.statuses.get(status_of("shop", push.commit or "", context))
        return (StatusState.PENDING, "") if kept is None else (kept.state, kept.description)


@asynccontextmanager
async def _open() -> AsyncIterator[_Branch]:
    async with open_stack(["test"]) as stack, open_hosting(stack, ["shop"]) as hosting:
        await stack.s3.put_bucket_versioning(
            Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
        )
        remote = PushedRepository("shop", stack.directory / "remotes" / "shop")
        yield _Branch(hosting, SourceRepository(remote.directory), remote)


def _lines(service: Service, event: str) -> list[Mapping[str, Any]]:
    return [line for line in service.log if line["event"] == event]


async def _results(branch: _Branch, pipelines: CodePipelineStandin) -> list[BuildResult | None]:
    """Return the records of all builds, then those of all executions, each oldest first."""
    storage = branch.stack.settings.storage
    ledger = ResultLedger(Store(branch.stack.s3, storage), prefix=storage.ledger_prefix)
    builds = [each.build.partition(":")[2] for each in branch.stack.standin.started]
    started = [StartedId(StartedKind.BUILD, "test", number) for number in builds]
    started += [StartedId(StartedKind.EXECUTION, "deploy", run.id) for run in pipelines.started]
    return [await ledger.find_result_of(each) for each in started]


async def _explain(variables: Mapping[str, str], *options: str) -> str:
    async with open_service(variables, "explain", "shop", *options) as service:
        text = await service.read()
        assert await service.wait() == 0
    return text.decode()


async def _get(address: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.get(address) as answer:
        assert answer.status == 200
        return await answer.read()


async def _wait_ends(address: str, number: int) -> list[Any]:
    """Return the rows of the status document once so many have ended."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            rows = orjson.loads(await _get(f"{address}status.json"))["recent"]
            ended = [each for each in rows if (each["result"] or {}).get("ended_at")]
            if len(ended) == number:
                return ended
            await anyio.sleep(0.2)


async def test_superseded_builds_are_told_everywhere() -> None:
    """Build and execution of the older push are stopped; those of the newer one pass.

    Ledger, log, status document, page, `explain` and forge name the newer commit.
    """
    ahead = [0.0]
    async with (
        open_codepipeline_standin(clock=lambda: time.time() + ahead[0]) as pipelines,
        _open() as branch,
    ):
        stack = branch.stack
        standin, url = stack.standin, stack.settings.results.url
        pipelines.put_pipeline(pipeline_of("deploy", bucket=BUCKET, variables=_DECLARED))
        pipelines.run_seconds, standin.script = 600, _RUNNING
        variables = branch.variables(pipelines)
        async with (
            open_event_sender(standin, stack.sqs, url),
            open_execution_events(pipelines, stack.sqs, url) as executions,
            open_service(variables) as service,
        ):
            address = str((await service.wait_logged("status.listening"))["address"])
            older = await branch.push()
            await wait_settled(stack)
            standin.script = _AT_ONCE
            newer = await branch.push()
            await wait_until(lambda: len(_lines(service, "build.cancelled")) == 2)
            ahead[0] = 601  # the older execution has finished its action, the newer one passes
            executions.schedule(pipelines.clock(), "wakes the sender", lambda: None)
            rows = await _wait_ends(address, 4)
            page = (await _get(address)).decode()
            shown = [(push, name) for push in (older, newer) for name in ("test", "deploy")]
            await wait_until(lambda: all(branch.shown(*each)[0] in _ENDS for each in shown))
            service.terminate()
            assert await service.wait() == 0
        results = await _results(branch, pipelines)
        text = await _explain(variables)
        told_as_json = await _explain(variables, "--json")

    records = [orjson.loads(line) for line in told_as_json.splitlines()]
    by = newer.commit or ""
    cancelled = [
        (line["event_id"], line["by"], line["by_commit"])
        for line in _lines(service, "build.cancelled")
    ]
    assert cancelled == [(older.id, newer.id, by)] * 2
    assert [
        each and (each.status, each.superseded_by, each.superseded_by_commit) for each in results
    ] == [("stopped", newer.id, by), ("succeeded", "", "")] * 2
    ends = [(newer.id, "succeeded", None)] * 2 + [(older.id, "stopped", by)] * 2
    assert _ends_in(rows) == _ends_in(records) == Counter(ends)
    assert text.count(f"superseded by {by[:12]}") == 2
    assert text.count("result   passed") == 2
    assert page.count(">superseded</") == 2
    _check_forge(branch, older, newer)
    assert [each["abandon"] for each in pipelines.stopped] == [False]


def _ends_in(rows: list[Any]) -> Counter[tuple[str, str, str | None]]:
    """Return push, status and newer commit of each row of a document."""
    results = [(row["event_id"], row["result"]) for row in rows]
    return Counter(
        (event_id, result["status"], result.get("superseded_by_commit") or None)
        for event_id, result in results
    )


def _check_forge(branch: _Branch, older: Pushed, newer: Pushed) -> None:
    for name in ("test", "deploy"):
        state, description = branch.shown(older, name)
        assert state is StatusState.ERROR
        assert description.startswith(f"superseded by {(newer.commit or '')[:12]}")
        assert branch.shown(newer, name)[0] is StatusState.SUCCESS


async def test_a_round_stops_what_a_killed_service_has_left() -> None:
    """It is killed when it has started the newer build, as it asks that the older be stopped."""
    async with open_codepipeline_standin() as pipelines, _open() as branch:
        stack = branch.stack
        standin, url = stack.standin, stack.settings.results.url
        pipelines.put_pipeline(pipeline_of("deploy", bucket=BUCKET, variables=_DECLARED))
        pipelines.run_seconds, standin.script = 3_600, _RUNNING
        killed: list[Service] = []

        async def handle(client: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
            if request.headers["X-Amz-Target"].endswith(".StopBuild"):
                killed[0].kill()
                return web.Response(status=503)
            return await pass_on(client, standin.endpoint_url, request, await request.read())

        variables = branch.variables(pipelines)
        async with open_proxy(handle) as (port,):
            builds = {"ASYNCBUILD_BUILDS__ENDPOINT_URL": f"http://127.0.0.1:{port}"}
            async with open_service({**variables, **builds}) as service:
                killed.append(service)
                await branch.push()
                await wait_settled(stack)
                newer = await branch.push()
                assert await service.wait() == -9
        first, second = (standin.build(each.build) for each in standin.started)
        assert (first.stopped_at, second.stopped_at) == (None, None)
        async with (
            open_event_sender(standin, stack.sqs, url),
            open_service(variables) as service,
        ):
            await service.wait_logged("status.listening")  # after the killed one's last long poll
            await stack.sqs.send_message(QueueUrl=url, MessageBody=sweep_message())
            recorded = await service.wait_logged("result.recorded")
            service.terminate()
            assert await service.wait() == 0
    assert (recorded["status"], recorded["superseded_by"]) == ("stopped", newer.id)
    assert recorded["build_id"] == first.id
    assert second.stopped_at is None
    assert [each["pipelineExecutionId"] for each in pipelines.stopped] == [pipelines.started[0].id]
