"""The stacks, deployed on a server: every reference resolves, and the queue passes `check`."""

import json
from typing import Any, Final, cast

import pytest
from support.deployed import REGION, open_client, open_stack
from support.stacks import ACCOUNT, SERVICE, template

from asyncbuild.aws.session import Aws
from asyncbuild.checks.commit_reports import look_at_reports
from asyncbuild.checks.judges.finding import Level
from asyncbuild.checks.judges.queues.queue import judge_dead_letters, judge_queue
from asyncbuild.config import Settings
from asyncbuild.local.servers.children import ACCESS_KEY, SECRET_KEY, LocalServer
from asyncbuild.queue.sqs import Queue

NEEDED: Final = {
    "ImageUri": "asyncbuild:1",
    "ProjectArns": "*",
    "VpcId": "vpc-1",
    "SubnetIds": "subnet-1,subnet-2",
}


@pytest.mark.parametrize(
    ("delivery", "group"), [("pipe", "codecommit"), ("rule", "$.detail.repositoryId")]
)
async def test_check_passes_the_deployed_queue(
    ministack: LocalServer, delivery: str, group: str
) -> None:
    """Both forms of delivery deploy, and `asyncbuild check` finds no fault with the queue."""
    parameters = {**NEEDED, "EventDelivery": delivery, "OwnerAccounts": "111111111111"}
    async with open_stack(ministack, template(SERVICE), **parameters) as (name, outputs):
        assert outputs["EventGroupId"] == group
        async with open_client(ministack, "sqs") as sqs:
            url = (await sqs.get_queue_url(QueueName=f"{name}.fifo"))["QueueUrl"]
            queue = Queue(polls=sqs, control=sqs, url=url, dead_letter_url=None)
            findings = judge_queue(url, await queue.attributes(), Settings())
            found = await queue.find_dead_letter_queue(await queue.facts())
            assert found.endswith(f"{name}-dead-letters.fifo")
            dead_letters = Queue(polls=sqs, control=sqs, url=found)
            findings += judge_dead_letters(found, await dead_letters.attributes())
            assert [each.what for each in findings if each.level is not Level.OK] == []


async def test_task_has_its_queue_and_bucket(ministack: LocalServer) -> None:
    """The container's variables name resources of its own stack."""
    async with (
        open_stack(ministack, template(SERVICE), **NEEDED) as (name, outputs),
        open_client(ministack, "ecs") as ecs,
    ):
        answer = await ecs.describe_task_definition(taskDefinition=name)
        (container,) = answer["taskDefinition"]["containerDefinitions"]
        told = {each["name"]: each["value"] for each in container["environment"]}
        assert outputs["QueueUrl"] == told["ASYNCBUILD_QUEUE__URL"]
        assert outputs["DeadLetterUrl"] == told["ASYNCBUILD_QUEUE__DEAD_LETTER_URL"]
        assert outputs["BucketName"] == told["ASYNCBUILD_STORAGE__BUCKET"]
        assert "ASYNCBUILD_RULES" not in told  # not requested


async def test_reports_have_their_queues_where_there_are_other_hosts(
    ministack: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`asyncbuild check` finds no fault with them, and the task is told their names."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    host = {"host": "github.com", "kind": "github", "signature": "off"}
    hosts = [{**host, "commit_status": {"token": "env:STATUS_TOKEN"}}]
    given = {**NEEDED, "HostsJson": json.dumps(hosts)}
    async with (
        open_stack(ministack, template(SERVICE), **given) as (name, outputs),
        open_client(ministack, "ecs") as ecs,
    ):
        url = outputs["ReportQueueUrl"]
        answer = await ecs.describe_task_definition(taskDefinition=name)
        (container,) = answer["taskDefinition"]["containerDefinitions"]
        told = {each["name"]: each["value"] for each in container["environment"]}
        assert told["ASYNCBUILD_REPORTS__URL"] == url
        dead_url = told["ASYNCBUILD_REPORTS__DEAD_LETTER_URL"]
        assert dead_url.endswith(f"{name}-reports-dead-letters.fifo")
        settings = Settings(
            aws={"endpoint_url": ministack.endpoint_url, "region": REGION},
            hosts=hosts,
            results={"url": outputs["ResultQueueUrl"]},
            reports={"url": url, "dead_letter_url": dead_url},
        )
        found = [each async for each in look_at_reports(Aws(settings), settings)]
    assert {each.name for each in found} == {
        "reports.queue",
        "reports.max-receive-count",
        "reports.retention",
        "reports.dead-letters",
    }
    assert {each.level for each in found} == {Level.OK}


@pytest.mark.parametrize("given", [{}, {"HostsJson": '[{"host": "a"}]', "Results": "DISABLED"}])
async def test_without_hosts_or_results_there_is_no_queue_of_reports(
    ministack: LocalServer, given: dict[str, str]
) -> None:
    """No report could be made there."""
    async with open_stack(ministack, template(SERVICE), **NEEDED, **given) as (_, outputs):
        assert "ReportQueueUrl" not in outputs


async def test_owner_account_trusts_the_service_alone(ministack: LocalServer) -> None:
    """The pull role is for one principal with the external id; the rule sends to one queue."""
    service_role = "arn:aws:iam::222222222222:role/asyncbuild-TaskRole-1"
    queue = f"arn:aws:sqs:{REGION}:222222222222:asyncbuild.fifo"
    parameters = {
        "ServiceRoleArn": service_role,
        "ExternalId": "0123456789abcdef",
        "EventQueueArn": queue,
        "EventGroupId": "$.detail.repositoryId",
    }
    async with (
        open_stack(ministack, template(ACCOUNT), **parameters) as (name, outputs),
        open_client(ministack, "iam") as iam,
        open_client(ministack, "events") as events,
    ):
        role = (await iam.get_role(RoleName="asyncbuild-pull"))["Role"]
        assert outputs["PullRoleArn"] == role["Arn"]
        (statement,) = _document(role["AssumeRolePolicyDocument"])["Statement"]
        assert statement["Principal"] == {"AWS": service_role}
        assert statement["Condition"] == {"StringEquals": {"sts:ExternalId": "0123456789abcdef"}}
        (target,) = (await events.list_targets_by_rule(Rule=name))["Targets"]
        assert target["Arn"] == queue
        assert target["RoleArn"] == outputs["DeliveryRoleArn"]
        assert target["SqsParameters"] == {"MessageGroupId": "$.detail.repositoryId"}


def _document(policy: object) -> dict[str, Any]:
    return dict(json.loads(policy)) if isinstance(policy, str) else dict(cast("Any", policy))
