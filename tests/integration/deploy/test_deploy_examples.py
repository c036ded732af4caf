"""The examples beside the service's stack: builds by the clock, and e-mails about builds."""

import json
from importlib import resources
from typing import Final

import anyio
import pytest
from openapi_schema_validator import OAS31Validator
from support.deployed import open_client, open_stack
from support.stacks import NIGHTLY, NOTIFICATIONS, properties, template

from asyncbuild.domain.model import TIP
from asyncbuild.domain.requests.push_request import read_request
from asyncbuild.local.servers.children import LocalServer

VALIDATOR: Final = OAS31Validator(
    json.loads(
        resources.files("asyncbuild.domain.requests")
        .joinpath("push-message.schema.json")
        .read_text("utf-8")
    )
)
_GROUP: Final = "c5c5b1a7-0d5d-4a4e-9b0f-2f3a4b5c6d7e"
_NIGHTLY: Final = {
    "RepositoryName": "web",
    "RepositoryId": _GROUP,
    "UtcCron": "cron(0 1 * * ? *)",
    "LocalCron": "cron(30 3 ? * MON-FRI *)",
    "TimeZone": "Europe/Berlin",
}


@pytest.mark.parametrize("again", [True, False])
async def test_schedules_send_the_push_message(ministack: LocalServer, *, again: bool) -> None:
    """Both send a message that the service reads, in the repository's group, each at its time."""
    given = {**_NIGHTLY, "Again": str(again).lower()}
    async with (
        open_stack(ministack, template(NIGHTLY), **given) as (name, _),
        open_client(ministack, "scheduler") as scheduler,
    ):
        listed = (await scheduler.list_schedules())["Schedules"]
        ours = [each["Name"] for each in listed if each["Name"].startswith(name)]
        schedules = [await scheduler.get_schedule(Name=each) for each in ours]
    times = {each["ScheduleExpression"] for each in schedules}
    assert times == {_NIGHTLY["UtcCron"], _NIGHTLY["LocalCron"]}
    # ministack 1.5.33 drops the zone.
    zone = properties(template(NIGHTLY), "Local")["ScheduleExpressionTimezone"]
    assert zone == {"Ref": "TimeZone"}
    assert "ScheduleExpressionTimezone" not in properties(template(NIGHTLY), "Utc")
    ids = set()
    for night in ("2026-03-29T01:30:00Z", "2026-03-30T01:30:00Z"):
        for schedule in schedules:
            target = schedule["Target"]
            assert target["Arn"].endswith(":asyncbuild.fifo")
            assert target["SqsParameters"] == {"MessageGroupId": _GROUP}
            # The Scheduler fills in its time (its user guide, "Adding context attributes").
            body = target["Input"].replace("<aws.scheduler.scheduled-time>", night)
            VALIDATOR.validate(json.loads(body))
            request = read_request(json.loads(body))
            assert (request.repository.name, request.ref) == ("web", "refs/heads/main")
            assert request.commit == TIP
            assert request.terms.again is again
            assert request.terms.as_push is not again  # as a push it does nothing if nothing moved
            assert request.terms.source == "schedule"
            ids.add(request.id)
    assert len(ids) == 2  # one build for each time, however often it is sent


async def test_a_branch_that_breaks_is_told(ministack: LocalServer) -> None:
    """Of the events on the bus, changes of one prefix of refs come, as text that people read."""
    given = {"Email": "team@example.com", "RefPrefix": "refs/heads/main"}
    async with (
        open_stack(ministack, template(NOTIFICATIONS), **given) as (name, outputs),
        open_client(ministack, "events") as events,
        open_client(ministack, "sns") as sns,
        open_client(ministack, "sqs") as sqs,
    ):
        url = (await sqs.create_queue(QueueName=f"{name}-people"))["QueueUrl"]
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        await sns.subscribe(
            TopicArn=outputs["TopicArn"],
            Protocol="sqs",
            Endpoint=answer["Attributes"]["QueueArn"],
            Attributes={"RawMessageDelivery": "true"},
        )
        entries = [
            {"Source": "asyncbuild", "DetailType": kind, "Detail": json.dumps(_detail(ref))}
            for kind, ref in (
                ("BuildFailed", "refs/heads/main"),
                ("BuildBroke", "refs/heads/feature"),
                ("BuildBroke", "refs/heads/main"),
            )
        ]
        await events.put_events(Entries=entries)
        texts: list[str] = []
        with anyio.fail_after(30):
            while not texts:
                received = await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)
                texts += [each["Body"] for each in received.get("Messages", ())]
        again = await sqs.receive_message(QueueUrl=url)
        assert "Messages" not in again
        (text,) = texts
        assert text.splitlines() == [
            '"BuildBroke: 123456789012/eu-west-1/web, refs/heads/main"',
            f'"Build web:1 of commit {"a" * 40} ended as failed."',
            '"https://console.aws.amazon.com/x"',
        ]


def _detail(ref: str) -> dict[str, object]:
    return {
        "repository": {"full_name": "123456789012/eu-west-1/web"},
        "ref": ref,
        "commit": "a" * 40,
        "status": "failed",
        "build": {"id": "web:1", "link": "https://console.aws.amazon.com/x"},
    }
