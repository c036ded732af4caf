"""Rounds that look for missed pushes, and people's rights, in the deployed stack."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import pytest
from support.deployed import REGION, open_client, open_stack
from support.stacks import SERVICE, template

from asyncbuild.aws.session import Aws
from asyncbuild.builds.reconcile_ledger import ReconcileLedger, RoundRecord
from asyncbuild.checks.judges.finding import Level
from asyncbuild.checks.judges.queues.rounds_queue import judge_rounds_queue
from asyncbuild.checks.missed_pushes import look_at_rounds
from asyncbuild.config import Settings
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY, LocalServer
from asyncbuild.reconcile.planning.round_messages import read_order
from asyncbuild.storage.s3 import Store

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


async def test_check_passes_the_deployed_queue_of_rounds(
    ministack: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`asyncbuild check` finds no fault with it, and tells whether rounds come."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    async with open_stack(ministack, template(SERVICE), **_NEEDED) as (_, outputs):
        settings = Settings(
            aws={"endpoint_url": ministack.endpoint_url, "region": REGION},
            reconcile={"url": outputs["ReconcileQueueUrl"]},
            storage={"bucket": outputs["BucketName"], "addressing_style": "path"},
        )
        aws, begun = Aws(settings), datetime(2026, 11, 30, 5, tzinfo=UTC)
        first = [each async for each in look_at_rounds(aws, settings)]
        async with aws.open_s3(pool=1) as s3:
            store = Store(s3, settings.storage)
            ledger = ReconcileLedger(store, prefix=settings.storage.ledger_prefix)
            await ledger.record_round(RoundRecord(begun, begun, 3))
        later = {
            hours: [
                each
                async for each in look_at_rounds(
                    aws, settings, clock=partial(_after, begun, hours=hours)
                )
            ][-1]
            for hours in (24, 27)
        }
    *queues, none = first
    assert {each.name for each in queues} == {
        *("reconcile.queue", "reconcile.deduplication", "reconcile.max-receive-count"),
        "reconcile.dead-letters",
    }
    assert {each.level for each in queues} == {Level.OK}
    assert (none.name, none.level) == ("reconcile.rounds", Level.NOTE)
    assert later[24].level is Level.OK
    assert later[27].level is Level.WARNING
    assert "2026-11-30T05:00:00Z" in later[27].what
    (noted,) = [each async for each in look_at_rounds(Aws(Settings()), Settings())]
    assert (noted.name, noted.level) == ("reconcile.url", Level.NOTE)


def test_a_queue_that_the_scheduler_cannot_send_to_is_told() -> None:
    """Not FIFO, without deduplication by content, without dead letters: each with its remedy."""
    found = judge_rounds_queue("https://x/reconcile", {}, Settings())
    assert [(each.name, each.level) for each in found] == [
        ("reconcile.queue", Level.PROBLEM),
        ("reconcile.deduplication", Level.WARNING),
        ("reconcile.redrive-policy", Level.PROBLEM),
    ]
    assert all(each.remedy for each in found)


def _after(begun: datetime, *, hours: int) -> datetime:
    return begun + timedelta(hours=hours)


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
