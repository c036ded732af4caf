"""Conversion of an answer of ReceiveMessage to a `Message` (SQS API reference, Message)."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from asyncbuild.domain.model import Message

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import MessageTypeDef


def received_message(item: "MessageTypeDef") -> Message:
    """Return one received message.

    Raises:
        KeyError, ValueError: A field is missing, or is not a number.
    """
    attributes = item.get("Attributes", {})
    return Message(
        id=item["MessageId"],
        body=item["Body"],
        receipt_handle=item["ReceiptHandle"],
        group=attributes.get("MessageGroupId", ""),
        sequence=int(attributes.get("SequenceNumber", 0)),
        receive_count=int(attributes.get("ApproximateReceiveCount", 1)),
        attributes=_texts(item),
        sent=read_moment(attributes.get("SentTimestamp", "0")),
    )


def read_moment(milliseconds: str) -> datetime | None:
    """Return the time of a SentTimestamp, in UTC; None if it is not one."""
    try:
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _texts(item: "MessageTypeDef") -> dict[str, str]:
    """Return the message's own attributes that are text."""
    attributes = item.get("MessageAttributes", {})
    return {n: v["StringValue"] for n, v in attributes.items() if v.get("StringValue")}
