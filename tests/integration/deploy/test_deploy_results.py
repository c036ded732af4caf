"""Results of builds in the deployed stack: events that come, events that do not, and rounds."""

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest
from support.deployed import open_client, open_stack
from support.ended import build_ended, execution_ended
from support.events import ACCOUNT, REGION, envelope
from support.stacks import SERVICE, template

from asyncbuild.aws.session import Aws
from asyncbuild.checks.build_results import look_at_results
from asyncbuild.checks.judges.finding import Level
from asyncbuild.config import Settings
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY, LocalServer

_PIPELINE: Final = f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:deploy"
_NEEDED: Final = {
    "ImageUri": "asyncbuild:1",
    "ProjectArns": "*",
    "VpcId": "vpc-1",
    "SubnetIds": "subnet-1,subnet-2",
    "PipelineArns": _PIPELINE,
}


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
        archive = f"{bucket}/archives/web/main/{'a' * 40}.zip"
        builds, executions = f"{name}-builds", f"{name}-executions"
        for status in ("SUCCEEDED", "FAILED", "STOPPED", "FAULT", "TIMED_OUT"):
            assert await _matches(events, builds, build_ended(archive, status=status)), status
        foreign = [
            build_ended(archive, status="IN_PROGRESS"),
            build_ended(f"{bucket}-of-others/web.zip"),  # with our variables
            build_ended("https://github.com/acme/web.git", source_type="GITHUB"),
            build_ended("", source_type="CODEPIPELINE"),  # inside an execution
            execution_ended("deploy"),
            envelope(),
        ]
        for event in foreign:
            assert not await _matches(events, builds, event), event
        for state in ("SUCCEEDED", "FAILED", "CANCELED", "STOPPED", "SUPERSEDED"):
            assert await _matches(events, executions, execution_ended("deploy", state=state)), state
        foreign = [
            *(execution_ended("deploy", state=each) for each in ("STARTED", "RESUMED", "STOPPING")),
            execution_ended("deploy-others"),
            build_ended(archive),
        ]
        for event in foreign:
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
        assert json.loads(round_["Target"]["Input"]) == {
            "asyncbuild": "sweep",
            "version": 1,
            "scheduled_time": "<aws.scheduler.scheduled-time>",
        }
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
