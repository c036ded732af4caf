"""Extraction of a webhook request from a message: headers and body, as the host sent them. Pure.

Two forms are understood. *Raw*: the message's body is the request's, and its message attributes
are headers of the request. *Envelope*: the body is the event of an API Gateway proxy integration,
`{"headers": {…}, "body": "…", "isBase64Encoded": false}` (API Gateway Developer Guide, "Input
format of a Lambda function for proxy integration", payload formats 1.0 and 2.0), or that of a load
balancer, which may have `multiValueHeaders` in place of `headers` (Elastic Load Balancing, "Lambda
functions as targets", multi-value headers).
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from asyncbuild.domain.errors import Reject, reading, show
from asyncbuild.domain.foreign_json import load_json
from asyncbuild.domain.model import Message
from asyncbuild.domain.requests.push_request import OWN_KEY
from asyncbuild.domain.times import read_time
from asyncbuild.forges.codecommit_trigger import is_trigger
from asyncbuild.forges.webhooks.dialect import Delivery
from asyncbuild.forges.webhooks.dialects import FORGE_HEADERS, SECRET_HEADERS

# A constant that the gateway adds to the headers: the host whose webhooks use its route.
HOST = "webhook-host"
SENT = "webhook-sent"  # first arrival of a dead letter that was sent back
# In lower case, the most important first: a dead letter has room for a few only.
KEPT = (HOST, SENT, *FORGE_HEADERS)
_SECRET = SECRET_HEADERS | {"authorization"}
_HEADERS = ("headers", "multiValueHeaders")
_TRUSTED_KEYS = ("detail-type", "Type", OWN_KEY)  # of EventBridge, SNS, and our own


def open_delivery(message: Message) -> Delivery | None:
    """Return the request in a message; None if it is an event of CodeCommit, or one of our own.

    A message with webhook headers is never taken for one of those, whatever its body says: they
    are not signed, and the gateway accepts requests from everyone.

    Raises:
        Reject: The body is neither a JSON object nor a complete envelope.
    """
    headers = {name.lower(): value for name, value in message.attributes.items()}
    headers = {name: value for name, value in headers.items() if name in KEPT}
    sent = _sent(headers, message)
    of_webhook = bool(set(headers) - {SENT})
    event = _json_object(message.body)
    if event is None:
        if of_webhook:
            return Delivery(headers, message.body.encode("utf-8", "surrogatepass"), sent)
        return None  # `codecommit.parse` reports its fault
    if any(isinstance(event.get(name), dict) for name in _HEADERS) and "body" in event:
        return _unwrap(event, headers, sent)
    is_trusted = any(name in event for name in _TRUSTED_KEYS) or is_trigger(event)
    if not of_webhook and is_trusted:
        return None
    return Delivery(headers, message.body.encode("utf-8", "surrogatepass"), sent)


def kept_attributes(attributes: Mapping[str, str], most: int) -> dict[str, str]:
    """Return at most `most` of a message's attributes: those needed to read the message again."""
    known = {name.lower(): name for name in attributes}
    names = [known[name] for name in KEPT if name in known]
    return {name: attributes[name] for name in names[:most]}


def first_sent(message: Message) -> dict[str, str]:
    """Return the attribute with a webhook's time of arrival; CodeCommit's events have their own."""
    try:
        with reading("message"):
            is_webhook = open_delivery(message) is not None
    except Reject:
        is_webhook = True
    return {SENT: message.sent.isoformat()} if is_webhook and message.sent else {}


def showable(body: str) -> str:
    """Return a message's body for people; an envelope without the secrets in headers (I10)."""
    event = _json_object(body)
    if event is None:
        named = any(name in body.lower() for name in _SECRET)
        return "(not shown: it names a token, and cannot be read as JSON)" if named else body
    found = False
    for place in _HEADERS:
        headers: Any = event.get(place)
        for name in list(headers) if isinstance(headers, dict) else []:
            if name.lower() in _SECRET:
                headers[name], found = "(not shown)", True
    try:
        return json.dumps(event) if found else body
    except (RecursionError, ValueError):
        return "(not shown: it holds a secret, and cannot be written again)"


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        found = load_json(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _unwrap(
    event: Mapping[str, Any], attributes: Mapping[str, str], sent: datetime | None
) -> Delivery:
    """Return the request in an envelope; attributes, which the gateway sets, override its headers.

    Args:
        event: The envelope.
        attributes: Attributes of the message that are headers.
        sent: Time at which the host's event first came to the queue.
    """
    body, encoded = event["body"], event.get("isBase64Encoded", False)
    if not isinstance(body, str) or not isinstance(encoded, bool):
        raise Reject(
            f"the gateway's envelope has a body of type {type(body).__name__} and isBase64Encoded "
            f"{show(encoded)}, not a string and true or false"
        )
    try:
        plain = body.encode("utf-8", "surrogatepass")
        raw = base64.b64decode(body, validate=True) if encoded else plain
    except (binascii.Error, ValueError) as error:
        raise Reject("the body of the gateway's envelope is not base64") from error
    told = dict(_iter_headers(event))
    # HOST is not among them: only the gateway may set it.
    told = {name: value for name, value in told.items() if name in FORGE_HEADERS}
    return Delivery({**told, **attributes}, raw, sent)


def _iter_headers(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names in lower case and values; of several values the last, as API Gateway does."""
    for place in reversed(_HEADERS):
        headers = event.get(place)
        for name, value in headers.items() if isinstance(headers, dict) else ():
            last = value[-1] if isinstance(value, list) and value else value
            if isinstance(last, str):
                yield name.lower(), last


def _sent(headers: Mapping[str, str], message: Message) -> datetime | None:
    """Return the time at which the host's event first came to the queue."""
    return read_time(headers.get(SENT)) or message.sent
