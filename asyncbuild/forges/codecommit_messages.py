"""Reader of CodeCommit's messages: of EventBridge and of triggers, also by way of SNS. Pure."""

from collections.abc import Mapping
from typing import Any

from asyncbuild.domain.errors import Reject, show
from asyncbuild.domain.foreign_json import read_object
from asyncbuild.domain.model import Nothing, Push
from asyncbuild.forges.codecommit import read_event
from asyncbuild.forges.codecommit_trigger import is_trigger, read_trigger


def parse_message(body: str | bytes) -> tuple[Push | Nothing | Reject, ...]:
    """Read one message body.

    Returns:
        Events: one of EventBridge, or one for each reference of a trigger.

    Raises:
        Reject: The body is another message; the reason names the field and its value.
    """
    document = _unwrap(read_object(body, "message body"))
    if is_trigger(document):
        return read_trigger(document)
    return (read_event(document),)


def _unwrap(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the event inside an SNS notification (SNS Developer Guide, JSON formats).

    Other events are returned unchanged.
    """
    told = document.get("Type") == "Notification" and "Message" in document
    if told and "detail-type" not in document:
        message = document["Message"]
        if not isinstance(message, str):
            raise Reject(f"Message of the SNS notification is {show(message)}, not a string")
        return read_object(message, "Message of the SNS notification")
    return document
