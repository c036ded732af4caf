"""Attributes of an SQS queue, parsed: its kind, its timeouts, its dead-letter queue. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from asyncbuild.domain.errors import Retry, reading

MOST_BYTES: Final = 1024 * 1024  # the most any queue may take; new queues do (SQS quotas)
OLD_MOST_BYTES: Final = 256 * 1024  # what a queue made before August 2025 takes


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """Attributes of a queue. `max_receive_count` is None without a redrive policy."""

    fifo: bool
    visibility_timeout_seconds: int
    max_receive_count: int | None
    dead_letter_arn: str | None
    retention_seconds: int = 345_600


def largest_message(attributes: Mapping[str, str]) -> int:
    """Return the size in bytes of the longest message that a queue with these attributes takes.

    Raises:
        Retry: The attribute is not a number.
    """
    with reading("MaximumMessageSize of a queue", raises=Retry, peer="sqs"):
        return int(attributes.get("MaximumMessageSize", MOST_BYTES))


def facts_of(attributes: Mapping[str, str]) -> QueueFacts:
    """Return the facts in a queue's attributes (SQS API reference, GetQueueAttributes).

    Raises:
        Retry: An attribute cannot be parsed.
    """
    with reading("the attributes of the queue", raises=Retry, peer="sqs"):
        policy = orjson.loads(attributes.get("RedrivePolicy") or "{}")
        limit = policy.get("maxReceiveCount")
        return QueueFacts(
            fifo=attributes.get("FifoQueue") == "true",
            visibility_timeout_seconds=int(attributes.get("VisibilityTimeout", 30)),
            max_receive_count=int(limit) if limit is not None else None,
            dead_letter_arn=policy.get("deadLetterTargetArn"),
            retention_seconds=int(attributes.get("MessageRetentionPeriod", 345_600)),
        )
