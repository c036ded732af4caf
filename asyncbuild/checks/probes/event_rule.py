"""Probe of the message group that an EventBridge rule sets for a FIFO queue.

It makes a queue and a rule, sends an event, and looks at the message that arrives.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import anyio
import orjson

from asyncbuild.aws.classify import errors_of
from asyncbuild.aws.session import Aws
from asyncbuild.checks.judges.probe_answer import Answer, Question
from asyncbuild.checks.probes.made import ProbeRun, open_made
from asyncbuild.checks.probes.rule_to_queue import admit_events, make_queue, make_rule
from asyncbuild.domain.errors import StageError

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
            fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
            url = await make_queue(sqs, made, f"{made.name}.fifo", fifo)
            await _make_rule(events, made, await admit_events(sqs, url))
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


async def _make_rule(events: "EventBridgeClient", made: ProbeRun, queue_arn: str) -> None:
    pattern = {"source": [_SOURCE], "detail": {"repositoryId": [made.name]}}
    target = {"Arn": queue_arn, "SqsParameters": {"MessageGroupId": _PATH}}
    await make_rule(events, made, made.name, pattern=pattern, target=target)


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
