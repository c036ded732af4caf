"""Probe of the message group that an EventBridge rule sets for a FIFO queue.

It makes a queue and a rule, sends an event, and looks at the message that arrives.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import anyio
import orjson

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.probe_answer import Answer, Question
from asyncbuild.checks.probes.made import TAG, ProbeRun, open_made
from asyncbuild.domain.errors import Fatal, StageError

if TYPE_CHECKING:
    from types_aiobotocore_events import EventBridgeClient
    from types_aiobotocore_sqs import SQSClient

GROUP: Final = Question(
    "events.message-group",
    "Does a rule make a message group of its own for each repository ($.detail.repositoryId)?",
    "The stack's default, EventDelivery=pipe, does not need it. With a yes EventDelivery=rule "
    "saves the inbox and the pipe. A group named $.detail… is noticed at run time, and told.",
)
ENCRYPTED: Final = Question(
    "events.encrypted-queue",
    "Does EventBridge deliver to a queue under SQS's own encryption (SqsManagedSseEnabled)?",
    "The stack's queues have it. With a no set KmsKeyArn to a key whose policy admits "
    "events.amazonaws.com.",
)
_SOURCE = "asyncbuild.probe"
_PATH = "$.detail.repositoryId"
_SECONDS = 90.0
_POLL_SECONDS = 5
_NOTHING = f"no event arrived within {_SECONDS:g} s"


async def iter_answers(aws: Aws, made: ProbeRun) -> AsyncIterator[Answer]:
    """Send events through a rule until one arrives; yield the answers."""
    try:
        async with (
            aws.open_sqs(pool=2) as sqs,
            aws.open_events(pool=1) as events,
            open_made(made),
        ):
            url = await _make_queue(sqs, made)
            await _make_rule(events, made, await _arn(sqs, url))
            group = await _send_until_one_arrives(sqs, events, made, url)
    except StageError as error:
        yield GROUP.unknown(str(error))
        yield ENCRYPTED.unknown(str(error))
        return
    yield _judge(group, made.name)
    yield ENCRYPTED.yes("an event arrived") if group is not None else ENCRYPTED.unknown(_NOTHING)


def _judge(group: str | None, name: str) -> Answer:
    if group is None:
        return GROUP.unknown(_NOTHING)
    if group == name:
        return GROUP.yes("the event arrived in the group that its detail names")
    if group == _PATH:
        return GROUP.no(f"the event arrived in the group {_PATH}, word by word")
    return GROUP.no(f"the event arrived in the group {group}")


async def _make_queue(sqs: "SQSClient", made: ProbeRun) -> str:
    name = f"{made.name}.fifo"

    async def undo() -> None:
        with errors_of(f"delete queue {name}"):
            try:
                found = await sqs.get_queue_url(QueueName=name)
            except sqs.exceptions.QueueDoesNotExist:
                return
            await sqs.delete_queue(QueueUrl=found["QueueUrl"])

    made.will_make(f"queue {name}", undo)
    with errors_of(f"make queue {name}"):
        answer = await sqs.create_queue(
            QueueName=name,
            Attributes={
                "FifoQueue": "true",
                "ContentBasedDeduplication": "true",
                "SqsManagedSseEnabled": "true",
                "MessageRetentionPeriod": "3600",
            },
            tags={TAG: made.name},
        )
    return answer["QueueUrl"]


async def _arn(sqs: "SQSClient", url: str) -> str:
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


async def _make_rule(events: "EventBridgeClient", made: ProbeRun, queue_arn: str) -> None:
    name = made.name

    async def undo() -> None:
        with errors_of(f"delete rule {name}"):
            try:
                await events.remove_targets(Rule=name, Ids=["queue"])
                await events.delete_rule(Name=name)
            except events.exceptions.ResourceNotFoundException:
                return

    made.will_make(f"rule {name}", undo)
    pattern = {"source": [_SOURCE], "detail": {"repositoryId": [name]}}
    target: Any = {"Id": "queue", "Arn": queue_arn, "SqsParameters": {"MessageGroupId": _PATH}}
    with errors_of(f"make rule {name}"):
        await events.put_rule(
            Name=name,
            EventPattern=orjson.dumps(pattern).decode(),
            Description="A probe of asyncbuild; gone when it ends",
            Tags=[{"Key": TAG, "Value": name}],
        )
        answer = await events.put_targets(Rule=name, Targets=[target])
    for entry in answer.get("FailedEntries", []):
        reason = f"{entry.get('ErrorCode')}: {entry.get('ErrorMessage')}"
        raise Fatal(f"EventBridge refuses a FIFO queue with group {_PATH} as a target: {reason}")


async def _send_until_one_arrives(
    sqs: "SQSClient", events: "EventBridgeClient", made: ProbeRun, url: str
) -> str | None:
    """Return the group of the first message, or None. A new rule misses events for some time."""
    with anyio.move_on_after(_SECONDS):
        number = 0
        while True:
            number += 1
            detail = {"repositoryId": made.name, "number": number}
            with errors_of("send an event"):
                await events.put_events(
                    Entries=[
                        {
                            "Source": _SOURCE,
                            "DetailType": "probe",
                            "Detail": orjson.dumps(detail).decode(),
                        }
                    ]
                )
            with errors_of(f"receive from queue {url}"):
                answer = await sqs.receive_message(
                    QueueUrl=url,
                    WaitTimeSeconds=_POLL_SECONDS,
                    MessageSystemAttributeNames=["MessageGroupId"],
                )
            for message in answer.get("Messages", []):
                return message.get("Attributes", {}).get("MessageGroupId", "")
    return None
