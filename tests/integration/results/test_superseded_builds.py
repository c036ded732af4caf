"""Stops of superseded builds, on real queues, a real bucket and the stand-ins."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from support.listening import hearing
from support.result_events import sweep_message
from support.result_site import PREFIX, ResultSite, open_result_site
from support.wait import wait_until

from asyncbuild.aws.session import Aws
from asyncbuild.builds.superseding.running_ledger import RunningLedger
from asyncbuild.checks.judges.finding import Level
from asyncbuild.checks.judges.rights import judge_trials
from asyncbuild.checks.trials import try_rights
from asyncbuild.config import RuleSettings, Settings
from asyncbuild.domain.model import Action
from asyncbuild.domain.results.build_result import BuildStatus
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.local.servers.aws_json import AwsError
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.children import LocalServer

RUNNING = Script(queued_seconds=0, build_seconds=3_600)


@pytest.fixture
async def site(ministack: LocalServer) -> AsyncIterator[ResultSite]:
    """Servers for results, with a rule that has `cancel_superseded`."""
    async with open_result_site(ministack) as site:
        site.cancels = True
        yield site


def running(site: ResultSite) -> RunningLedger:
    """Return the entries of running builds."""
    return RunningLedger(site.store, prefix=PREFIX)


def status_of(site: ResultSite, started: StartedBuild) -> str:
    """Return the status of the newest attempt of a build, in CodeBuild's words."""
    newest = site.builds.build(started.of.id).newest()
    return str(newest.seen_at(site.builds.clock())["buildStatus"])


async def test_a_round_stops_what_a_dead_task_has_left(site: ResultSite) -> None:
    """The newest build runs on. The older one's end is that of a superseded build."""
    older, newer = [await site.start_build(script=RUNNING) for _ in range(2)]
    other = await site.start_build("till", script=RUNNING)
    with hearing() as lines:
        async with site.open_consumers():
            await site.send(sweep_message())
            await wait_until(lambda: status_of(site, older) == "STOPPED")
            await site.tell_end(older, "STOPPED")
            result = await site.wait_result(older)
            await site.wait_empty()
    assert (result.status, result.superseded_by) == (BuildStatus.STOPPED, newer.event_id)
    assert result.superseded_by_commit == newer.commit
    assert [status_of(site, each) for each in (newer, other)] == ["IN_PROGRESS"] * 2
    (told,) = [line for line in lines if line["event"] == "build.cancelled"]
    assert (told["event_id"], told["by"]) == (older.event_id, newer.event_id)
    (recorded,) = [line for line in lines if line["event"] == "result.recorded"]
    assert recorded["superseded_by_commit"] == newer.commit
    assert await running(site).find(older) is None
    assert await running(site).find(newer) is not None


async def test_another_rule_of_the_project_stops_nothing(site: ResultSite) -> None:
    """Its build has other files or variables: what was stopped would never be built."""
    older = await site.start_build(script=RUNNING, rule="api")
    between = await site.start_build(script=RUNNING, rule="web")
    newer = await site.start_build(script=RUNNING, rule="web")
    async with site.open_consumers():
        await site.send(sweep_message())
        await wait_until(lambda: status_of(site, between) == "STOPPED")
        await site.wait_empty()
    assert [status_of(site, each) for each in (older, newer)] == ["IN_PROGRESS"] * 2


async def test_a_build_that_a_person_has_stopped_is_not_superseded(site: ResultSite) -> None:
    """Nor does it become so when a newer one is started before its end is recorded."""
    older = await site.start_build(script=RUNNING)
    await site.codebuild.stop_build(id=older.of.id)
    await site.start_build(script=RUNNING)
    async with site.open_consumers():
        await site.send(sweep_message())
        await wait_until(lambda: site.builds.calls["BatchGetBuilds"] > 0)
        await site.tell_end(older, "STOPPED")
        result = await site.wait_result(older)
    assert (result.status, result.superseded_by) == (BuildStatus.STOPPED, "")
    assert site.builds.calls["StopBuild"] == 1


async def test_a_newer_build_that_has_ended_stops_the_older_one(site: ResultSite) -> None:
    """Its task died right after the start: the recorder of its end tells that on."""
    older = await site.start_build(script=RUNNING)
    newer = await site.start_build()
    async with site.open_consumers():
        await site.tell_end(newer)
        await site.wait_result(newer)
        await wait_until(lambda: status_of(site, older) == "STOPPED")
    assert await running(site).find(newer) is None


async def test_the_newest_attempt_is_stopped(site: ResultSite) -> None:
    """CodeBuild has tried the older build again: its first attempt has ended."""
    site.builds.script = Script(queued_seconds=0, build_seconds=0, status="FAILED")
    site.builds.add_project("again", retries=1)
    older = await site.start_build("again", script=site.builds.script)
    site.builds.script = RUNNING
    site.builds.settle()
    await site.start_build("again", script=RUNNING)
    async with site.open_consumers():
        await site.send(sweep_message())
        await wait_until(lambda: status_of(site, older) == "STOPPED")
    first = site.builds.build(older.of.id)
    assert first.next is not None
    assert first.stopped_at is None


async def test_a_missing_right_is_told_once_and_leaves_the_build(site: ResultSite) -> None:
    """The project is left alone for an hour; a person's stop is a person's then."""
    older, _ = [await site.start_build(script=RUNNING) for _ in range(2)]
    denied = AwsError("AccessDeniedException", "not authorized to perform: codebuild:StopBuild")
    site.builds.fail_next("StopBuild", denied)
    with hearing() as lines:
        async with site.open_consumers():
            for _ in range(2):
                await site.send(sweep_message())
                await site.wait_empty()
            await site.codebuild.stop_build(id=older.of.id)
            await site.tell_end(older, "STOPPED")
            result = await site.wait_result(older)
    (told,) = [line for line in lines if line["event"] == "cancel.off"]
    assert told["project"] == "web"
    assert "allow StopBuild" in told["reason"]
    assert result.superseded_by == ""
    assert site.builds.calls["StopBuild"] == 2  # the refused one, and the person's


async def test_a_throttled_stop_is_made_by_the_next_round(site: ResultSite) -> None:
    """A failure is told with its reason."""
    older, _ = [await site.start_build(script=RUNNING) for _ in range(2)]
    site.builds.fail_next("StopBuild", AwsError("ThrottlingException", "Rate exceeded"))
    with hearing() as lines:
        async with site.open_consumers():
            await site.send(sweep_message())
            await site.wait_empty()
            assert status_of(site, older) == "IN_PROGRESS"
            await site.send(sweep_message())
            await wait_until(lambda: status_of(site, older) == "STOPPED")
    (told,) = [line for line in lines if line["event"] == "cancel.failed"]
    assert told["kind"] == "busy"
    assert told["ref"] == older.ref


async def test_an_execution_is_stopped_with_a_reason(site: ResultSite) -> None:
    """Its actions are finished, not abandoned; it is asked once."""
    older, newer = [await site.start_execution("deploy", seconds=3_600) for _ in range(2)]
    async with site.open_consumers():
        for _ in range(2):
            await site.send(sweep_message())
            await site.wait_empty()
    (stop,) = site.pipelines.stopped
    assert stop["pipelineExecutionId"] == older.of.number
    assert stop["abandon"] is False
    assert newer.commit[:12] in stop["reason"]
    known = await running(site).find(older)
    assert known is not None
    assert known.build.is_told


async def test_without_the_setting_nothing_is_stopped(site: ResultSite) -> None:
    """Builds that were started with it run on when no rule has it any more, and leave nothing."""
    older, newer = [await site.start_build(script=RUNNING) for _ in range(2)]
    site.cancels = False
    async with site.open_consumers():
        await site.send(sweep_message())
        await site.wait_empty()
        assert status_of(site, older) == "IN_PROGRESS"
        for each in (older, newer):
            await site.codebuild.stop_build(id=each.of.id)
            await site.tell_end(each, "STOPPED")
            assert (await site.wait_result(each)).superseded_by == ""
        await site.wait_empty()
    assert await running(site).find_all() == {}


async def test_a_damaged_entry_stops_nothing(site: ResultSite) -> None:
    """An entry under another build's key is not believed, either."""
    older, _ = [await site.start_build(script=RUNNING) for _ in range(2)]
    other = await site.start_build("till", script=RUNNING)
    ledger = running(site)
    known = await ledger.find(older)
    assert known is not None
    await ledger.change(known, replace(known.build, of=other.of))
    async with site.open_consumers():
        await site.send(sweep_message())
        await site.wait_empty()
    assert [status_of(site, each) for each in (older, other)] == ["IN_PROGRESS"] * 2


async def test_check_tries_the_rights_to_stop(site: ResultSite) -> None:
    """Of the projects and pipelines of rules that want it; nothing is stopped."""
    running_build = await site.start_build(script=RUNNING)
    await site.start_execution("deploy", seconds=3_600)
    names: dict[str, Any] = {"cancel_superseded": True}
    rules = (
        RuleSettings(action=Action.BUILD, project=("web", "{repository}"), **names),
        RuleSettings(action=Action.BUILD, project=("till",)),
        RuleSettings(action=Action.PIPELINE, pipeline=("deploy", "gone", "{branch}"), **names),
        RuleSettings(action=Action.PIPELINE, pipeline=("other",)),
    )
    settings = site.settings.model_copy(update={"rules": rules})
    allowed = await _stop_trials(settings)
    for operation in ("StopBuild", "StopPipelineExecution"):
        standin = site.builds if operation == "StopBuild" else site.pipelines
        standin.fail_next(operation, AwsError("AccessDeniedException", "no"), times=2)
    denied = await _stop_trials(settings)
    wanted = [
        ("rights.codebuild:StopBuild", "web"),
        ("rights.codepipeline:StopPipelineExecution", "deploy"),
        ("rights.codepipeline:StopPipelineExecution", "gone"),
    ]
    assert allowed == [(*each, Level.OK) for each in wanted]
    assert denied == [(*each, Level.PROBLEM) for each in wanted]
    assert await _stop_trials(site.settings) == []
    assert status_of(site, running_build) == "IN_PROGRESS"
    assert site.pipelines.stopped == []


async def _stop_trials(settings: Settings) -> list[tuple[str, str, Level]]:
    """Return name, resource and level of the findings about rights to stop."""
    trials = [each for each in await try_rights(Aws(settings), settings) if "Stop" in each.action]
    found = [each for each in judge_trials(trials) if each.name != "rights.not-tried"]
    pairs = zip(found, trials, strict=True)
    return [(finding.name, trial.resource, finding.level) for finding, trial in pairs]
