"""A message → the webhook request in it: headers and body, as the host sent them. Pure.

Two forms are understood. *Raw*: the message's body is the request's, and its message attributes
are headers of the request. *Envelope*: the body is the event of an API Gateway proxy integration,
`{"headers": {…}, "body": "…", "isBase64Encoded": false}` (API Gateway Developer Guide, "Input
format of a Lambda function for proxy integration", payload formats 1.0 and 2.0).
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from asyncbuild.errors import Reject
from asyncbuild.model import Message
from asyncbuild.push import read_object, show

# A constant that the gateway puts beside the headers: whose webhooks come by this route.
HOST = "webhook-host"
SENT = "webhook-sent"  # when a dead letter that was sent back had been sent first
# In lower case, the most important first: a dead letter has no room for more than a few.
KEPT = (
    *(HOST, SENT),
    *("x-hub-signature-256", "x-gitlab-token", "x-hub-signature"),
    *("x-github-delivery", "idempotency-key", "x-request-uuid", "x-request-id"),
    *("x-gitlab-event-uuid", "x-github-event", "x-gitlab-event", "x-event-key"),
)
_SECRET = frozenset({"x-gitlab-token", "authorization"})
_CODECOMMIT_KEYS = ("detail-type", "Type")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook request. Header names are in lower case; values may be secrets (I10)."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    sent: datetime | None

    def document(self) -> Mapping[str, Any]:
        """The payload, which every host sends as a JSON object.

        Raises:
            Reject: it is none.
        """
        if self.body.startswith(b"payload="):
            raise Reject(
                "the webhook's payload is a form, not JSON",
                remedy="choose the content type application/json in the webhook's settings",
            )
        return read_object(self.body, "webhook payload")


def open_delivery(message: Message) -> Delivery | None:
    """Take the request out of a message; None if the message is an event of CodeCommit.

    A message with webhook headers is never taken for an event of CodeCommit, whatever its body
    says: those are not signed, and the gateway lets everybody in.

    Raises:
        Reject: the body is no JSON object, or no whole envelope.
    """
    headers = {name.lower(): value for name, value in message.attributes.items()}
    headers = {name: value for name, value in headers.items() if name in KEPT}
    sent = _sent(headers, message)
    of_webhook = bool(set(headers) - {SENT})
    event = _json_object(message.body)
    if event is None:
        if of_webhook:
            return Delivery(headers, message.body.encode("utf-8", "surrogatepass"), sent)
        return None  # `push.parse` says what is wrong with it
    if isinstance(event.get("headers"), dict) and "body" in event:
        return _unwrap(event, headers, sent)
    if not of_webhook and any(name in event for name in _CODECOMMIT_KEYS):
        return None
    return Delivery(headers, message.body.encode(), sent)


def kept_attributes(attributes: Mapping[str, str], most: int) -> dict[str, str]:
    """At most so many of a message's attributes: those that it takes to read it once more."""
    known = {name.lower(): name for name in attributes}
    names = [known[name] for name in KEPT if name in known]
    return {name: attributes[name] for name in names[:most]}


def first_sent(message: Message) -> dict[str, str]:
    """The attribute that keeps when a webhook came; an event of CodeCommit says so itself."""
    try:
        is_webhook = open_delivery(message) is not None
    except Reject:
        is_webhook = True
    return {SENT: message.sent.isoformat()} if is_webhook and message.sent else {}


def showable(body: str) -> str:
    """A message's body for people: in an envelope, without the headers that are secrets (I10)."""
    event = _json_object(body)
    if event is None:
        return body
    found = False
    for place in ("headers", "multiValueHeaders"):
        headers: Any = event.get(place)
        for name in list(headers) if isinstance(headers, dict) else []:
            if name.lower() in _SECRET:
                headers[name], found = "(not shown)", True
    return orjson.dumps(event).decode() if found else body


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    return found if isinstance(found, dict) else None


def _unwrap(
    event: Mapping[str, Any], attributes: Mapping[str, str], sent: datetime | None
) -> Delivery:
    """Headers beside the body; what the gateway put in attributes comes before them."""
    body, encoded = event["body"], event.get("isBase64Encoded", False)
    if not isinstance(body, str) or not isinstance(encoded, bool):
        raise Reject(
            f"the gateway's envelope has a body of type {type(body).__name__} and isBase64Encoded "
            f"{show(encoded)}, not a string and true or false"
        )
    try:
        raw = base64.b64decode(body, validate=True) if encoded else body.encode()
    except (binascii.Error, ValueError) as error:
        raise Reject("the body of the gateway's envelope is not base64") from error
    told = {
        str(name).lower(): value
        for name, value in event["headers"].items()
        if isinstance(value, str)
    }
    told = {
        name: value for name, value in told.items() if name in KEPT[2:]
    }  # HOST is the gateway's to say
    return Delivery({**told, **attributes}, raw, sent)


def _sent(headers: Mapping[str, str], message: Message) -> datetime | None:
    """When the host's event came to the queue first."""
    try:
        return datetime.fromisoformat(headers[SENT])
    except (KeyError, ValueError):
        return message.sent
