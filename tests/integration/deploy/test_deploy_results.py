"""Results of builds in the deployed stack: events that come, events that do not, and rounds."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import pytest
from support.deployed import REGION, open_client, open_stack
from support.events import envelope
from support.pipeline_course import execution_event
from support.stacks import SERVICE, template

from asyncbuild.aws.session import Aws
from asyncbuild.checks.build_results import look_at_results
from asyncbuild.checks.judges.finding import Level
from asyncbuild.config import Settings
from asyncbuild.local.servers.build_events import build_event
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY, LocalServer
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin
from asyncbuild.local.servers.served import ACCOUNT
from asyncbuild.results.facts.result_messages import (
    StateChange,
    SweepRequest,
    read_result_message,
)

_PIPELINE: Final = f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:deploy"
# States of an execution, as the API names them, and whether they are ends.
_EXECUTION_STATES: Final = {
    "InProgress": False,
    "Stopping": False,
    "Succeeded": True,
    "Failed": True,
    "Cancelled": True,
    "Stopped": True,
    "Superseded": True,
}
_NEEDED: Final = {
    "ImageUri": "asyncbuild:1",
    "ProjectArns": "*",
    "VpcId": "vpc-1",
    "SubnetIds": "subnet-1,subnet-2",
    "PipelineArns": _PIPELINE,
}


async def _builds(location: str) -> dict[str, dict[str, Any]]:
    """Return an event of a build of this source for each state, by the state's word."""
    events: dict[str, dict[str, Any]] = {}
    async with open_codebuild_standin(["web"]) as standin:
        for status in ("SUCCEEDED", "FAILED", "STOPPED", "FAULT", "TIMED_OUT"):
            standin.script = Script(status=status)
            request = {"projectName": "web", "sourceLocationOverride": location}
            await standin.answer("StartBuild", {**request, "sourceTypeOverride": "S3"})
            build = standin.build(standin.started[-1].build)
            begun = build.document["startTime"]
            for when in (begun, build.ends_at):
                event = build_event(build.seen_at(when))
                events[event["detail"]["build-status"]] = event
    return events


def _execution(pipeline: str, status: str = "Succeeded") -> dict[str, Any]:
    return execution_event(pipeline, str(uuid4()), status, time=1_800_000_000.0)


async def _matches(events: Any, rule: str, event: Mapping[str, Any]) -> bool:  # noqa: ANN401 - a client
    pattern = (await events.describe_rule(Name=rule))["EventPattern"]
    answer = await events.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))
    return bool(answer["Result"])


@pytest.mark.parametrize("delivery", ["pipe", "rule"])
async def test_rules_select_ends_of_what_the_service_starts(
    ministack: LocalServer, delivery: str
) -> None:
    """Each end of a build of our archives matches, however pushes come; builds of others do not."""
    parameters = {**_NEEDED, "EventDelivery": delivery, "OwnerAccounts": "111111111111"}
    async with (
        open_stack(ministack, template(SERVICE), **parameters) as (name, outputs),
        open_client(ministack, "events") as events,
    ):
        bucket = outputs["BucketName"]
        builds, executions = f"{name}-builds", f"{name}-executions"
        ours = await _builds(f"{bucket}/archives/web/main/{'a' * 40}.zip")
        theirs = await _builds(f"{bucket}-of-others/web.zip")
        assert len(ours) == len(theirs) == 6
        for status, event in ours.items():
            assert await _matches(events, builds, event) is (status != "IN_PROGRESS"), status
            assert isinstance(read_result_message(json.dumps(event)), StateChange)
        for event in (*theirs.values(), _execution("deploy"), envelope()):
            assert not await _matches(events, builds, event), event
        for status, ends in _EXECUTION_STATES.items():
            event = _execution("deploy", status)
            assert await _matches(events, executions, event) is ends, status
            change = read_result_message(json.dumps(event))
            assert isinstance(change, StateChange)
            assert change.status.is_end is ends
        for event in (_execution("deploy-others"), ours["SUCCEEDED"], envelope()):
            assert not await _matches(events, executions, event), event


async def test_results_come_to_a_queue_that_the_task_reads(ministack: LocalServer) -> None:
    """Rules and rounds send to the queue of the task's variable, which is a standard one."""
    async with (
        open_stack(ministack, template(SERVICE), **_NEEDED) as (name, outputs),
        open_client(ministack, "sqs") as sqs,
        open_client(ministack, "events") as events,
        open_client(ministack, "scheduler") as scheduler,
        open_client(ministack, "ecs") as ecs,
    ):
        url = outputs["ResultQueueUrl"]
        attributes = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        queue = attributes["Attributes"]
        assert "FifoQueue" not in queue
        dead = json.loads(queue["RedrivePolicy"])["deadLetterTargetArn"]
        assert dead.endswith(f":{name}-results-dead-letters")
        for rule in ("builds", "executions"):
            answer = await events.list_targets_by_rule(Rule=f"{name}-{rule}")
            (target,) = answer["Targets"]
            assert target["Arn"] == queue["QueueArn"]
            assert target["DeadLetterConfig"]["Arn"].endswith(f":{name}-undelivered")
        round_ = await scheduler.get_schedule(Name=f"{name}-round")
        assert round_["Target"]["Arn"] == queue["QueueArn"]
        assert (round_["State"], round_["ScheduleExpression"]) == ("ENABLED", "rate(10 minutes)")
        # The Scheduler fills in its time (its user guide, "Adding context attributes").
        sent = round_["Target"]["Input"].replace(
            "<aws.scheduler.scheduled-time>", "2022-03-22T18:59:43Z"
        )
        due = datetime(2022, 3, 22, 18, 59, 43, tzinfo=UTC)
        assert read_result_message(sent) == SweepRequest(due)
        told = await _variables(ecs, name)
        assert told["ASYNCBUILD_RESULTS__URL"] == url
        assert told["ASYNCBUILD_RESULTS__DEAD_LETTER_URL"].endswith(dead.rpartition(":")[2])


async def test_check_passes_the_deployed_queue_of_results(
    ministack: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`asyncbuild check` finds no fault with it, and tells of a configuration without one."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    async with open_stack(ministack, template(SERVICE), **_NEEDED) as (_, outputs):
        settings = Settings(
            aws={"endpoint_url": ministack.endpoint_url, "region": REGION},
            results={"url": outputs["ResultQueueUrl"]},
        )
        findings = [each async for each in look_at_results(Aws(settings), settings)]
    assert {each.name for each in findings} == {
        "results.queue",
        "results.max-receive-count",
        "results.dead-letters",
    }
    assert {each.level for each in findings} == {Level.OK}
    (noted,) = [each async for each in look_at_results(Aws(Settings()), Settings())]
    assert (noted.name, noted.level) == ("results.url", Level.NOTE)


@pytest.mark.parametrize(
    ("given", "expression"),
    [
        ({"MinTasks": "0"}, "rate(6 hours)"),
        ({"MinTasks": "0", "ResultsRound": "rate(1 day)"}, "rate(1 day)"),
    ],
)
async def test_a_service_that_sleeps_is_woken_seldom(
    ministack: LocalServer, given: dict[str, str], expression: str
) -> None:
    """Each round starts a task where none runs, so rounds are rare there."""
    async with (
        open_stack(ministack, template(SERVICE), **_NEEDED, **given) as (name, _),
        open_client(ministack, "scheduler") as scheduler,
    ):
        answer = await scheduler.get_schedule(Name=f"{name}-round")
        assert answer["ScheduleExpression"] == expression


async def test_results_can_be_off(ministack: LocalServer) -> None:
    """Off, nothing is sent and the task has no setting that an older image would refuse."""
    async with (
        open_stack(ministack, template(SERVICE), **_NEEDED, Results="DISABLED") as (name, _),
        open_client(ministack, "events") as events,
        open_client(ministack, "scheduler") as scheduler,
        open_client(ministack, "ecs") as ecs,
    ):
        for rule in ("builds", "executions"):
            assert (await events.describe_rule(Name=f"{name}-{rule}"))["State"] == "DISABLED"
        assert (await scheduler.get_schedule(Name=f"{name}-round"))["State"] == "DISABLED"
        assert [each for each in await _variables(ecs, name) if "RESULTS" in each] == []
        assert Settings().results.url == ""


async def _variables(ecs: Any, name: str) -> dict[str, str]:  # noqa: ANN401 - a client
    answer = await ecs.describe_task_definition(taskDefinition=name)
    (only,) = answer["taskDefinition"]["containerDefinitions"]
    return {each["name"]: each["value"] for each in only["environment"]}
