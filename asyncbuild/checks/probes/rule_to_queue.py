"""Queues and rules that probes of events make: a rule of EventBridge that sends to a queue."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from asyncbuild.aws.classify import errors_of
from asyncbuild.checks.probes.made import TAG, ProbeRun
from asyncbuild.domain.errors import Fatal

if TYPE_CHECKING:
    from types_aiobotocore_events import EventBridgeClient
    from types_aiobotocore_sqs import SQSClient


async def make_queue(
    sqs: "SQSClient", made: ProbeRun, name: str, attributes: Mapping[str, str]
) -> str:
    """Make a queue under SQS's own encryption; return its URL.

    Args:
        sqs: Client.
        made: Record of what the probes make.
        name: Name of the queue.
        attributes: More of its attributes.

    Raises:
        StageError: SQS refused, or cannot be reached.
    """

    async def undo() -> None:
        with errors_of(f"delete queue {name}"):
            try:
                found = await sqs.get_queue_url(QueueName=name)
            except sqs.exceptions.QueueDoesNotExist:
                return
            await sqs.delete_queue(QueueUrl=found["QueueUrl"])

    made.will_make(f"queue {name}", undo)
    told: Any = {"SqsManagedSseEnabled": "true", "MessageRetentionPeriod": "3600", **attributes}
    with errors_of(f"make queue {name}"):
        answer = await sqs.create_queue(QueueName=name, Attributes=told, tags={TAG: made.name})
    return answer["QueueUrl"]


async def admit_events(sqs: "SQSClient", url: str) -> str:
    """Let EventBridge send to a queue; return the queue's ARN.

    Raises:
        StageError: SQS refused, or cannot be reached.
    """
    with errors_of(f"read the attributes of queue {url}"):
        answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = answer["Attributes"]["QueueArn"]
    with errors_of(f"let EventBridge send to queue {url}"):
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": arn,
                }
            ],
        }
        await sqs.set_queue_attributes(
            QueueUrl=url, Attributes={"Policy": orjson.dumps(policy).decode()}
        )
    return arn


async def make_rule(
    events: "EventBridgeClient",
    made: ProbeRun,
    name: str,
    *,
    pattern: Mapping[str, Any],
    target: Mapping[str, Any],
) -> None:
    """Make a rule with one target.

    Args:
        events: Client.
        made: Record of what the probes make.
        name: Name of the rule.
        pattern: Events that it selects.
        target: Where they go, without an id.

    Raises:
        Fatal: EventBridge refuses the target.
        StageError: EventBridge refused, or cannot be reached.
    """

    async def undo() -> None:
        with errors_of(f"delete rule {name}"):
            try:
                await events.remove_targets(Rule=name, Ids=["queue"])
                await events.delete_rule(Name=name)
            except events.exceptions.ResourceNotFoundException:
                return

    made.will_make(f"rule {name}", undo)
    told: Any = {"Id": "queue", **target}
    with errors_of(f"make rule {name}"):
        await events.put_rule(
            Name=name,
            EventPattern=orjson.dumps(pattern).decode(),
            Description="A probe of asyncbuild; gone when it ends",
            Tags=[{"Key": TAG, "Value": made.name}],
        )
        answer = await events.put_targets(Rule=name, Targets=[told])
    for entry in answer.get("FailedEntries", []):
        reason = f"{entry.get('ErrorCode')}: {entry.get('ErrorMessage')}"
        raise Fatal(f"EventBridge refuses the target of rule {name}: {reason}")
