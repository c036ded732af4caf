"""Rounds that look for missed pushes, and people's rights, in the deployed stack."""

import json
from typing import Any, Final

import pytest
from support.deployed import open_client, open_stack
from support.stacks import SERVICE, template

from asyncbuild.local.servers.children import LocalServer
from asyncbuild.reconcile.planning.round_messages import read_order

_NEEDED: Final = {
    "ImageUri": "asyncbuild:1",
    "ProjectArns": "*",
    "VpcId": "vpc-1",
    "SubnetIds": "subnet-1,subnet-2",
}


@pytest.mark.parametrize(
    ("given", "state", "expression"),
    [
        ({}, "ENABLED", "rate(1 hour)"),
        ({"MinTasks": "0"}, "ENABLED", "rate(6 hours)"),
        ({"ReconcileRound": "rate(30 minutes)"}, "ENABLED", "rate(30 minutes)"),
        ({"Reconcile": "DISABLED"}, "DISABLED", "rate(1 hour)"),
    ],
)
async def test_a_round_is_sent_to_its_queue(
    ministack: LocalServer, given: dict[str, str], state: str, expression: str
) -> None:
    """The schedule sends what the service reads, to its queue, at a rate that lets tasks sleep."""
    async with (
        open_stack(ministack, template(SERVICE), **_NEEDED, **given) as (name, outputs),
        open_client(ministack, "scheduler") as scheduler,
        open_client(ministack, "sqs") as sqs,
        open_client(ministack, "ecs") as ecs,
    ):
        schedule = await scheduler.get_schedule(Name=f"{name}-reconcile")
        assert (schedule["State"], schedule["ScheduleExpression"]) == (state, expression)
        url = outputs["ReconcileQueueUrl"]
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        queue = answer["Attributes"]
        assert schedule["Target"]["Arn"] == queue["QueueArn"]
        assert schedule["Target"]["SqsParameters"] == {"MessageGroupId": "round"}
        order = read_order(
            schedule["Target"]["Input"].replace(
                "<aws.scheduler.scheduled-time>", "2022-03-22T18:59:43Z"
            )
        )
        assert order.group == schedule["Target"]["SqsParameters"]["MessageGroupId"]
        told = await _variables(ecs, name)
        assert told.get("ASYNCBUILD_RECONCILE__URL", "") == (url if state == "ENABLED" else "")
        dead = json.loads(queue["RedrivePolicy"])["deadLetterTargetArn"]
        assert dead.endswith(f":{name}-reconcile-dead-letters.fifo")


async def _variables(ecs: Any, name: str) -> dict[str, str]:  # noqa: ANN401 - a client
    answer = await ecs.describe_task_definition(taskDefinition=name)
    (only,) = answer["taskDefinition"]["containerDefinitions"]
    return {each["name"]: each["value"] for each in only["environment"]}


async def test_people_get_a_policy(ministack: LocalServer) -> None:
    """The output names a managed policy that can be attached to a role."""
    async with (
        open_stack(ministack, template(SERVICE), **_NEEDED) as (_, outputs),
        open_client(ministack, "iam") as iam,
    ):
        policy = await iam.get_policy(PolicyArn=outputs["OperatorPolicyArn"])
        version = policy["Policy"]["DefaultVersionId"]
        answer = await iam.get_policy_version(
            PolicyArn=outputs["OperatorPolicyArn"], VersionId=version
        )
        text = json.dumps(answer["PolicyVersion"]["Document"])
        assert f"{outputs['BucketName']}/.asyncbuild/ledger/*" in text
