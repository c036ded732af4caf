"""Message attributes of a dead letter: the reason, and what is needed to read it again. Pure.

A queue takes messages up to its MaximumMessageSize, and counts the body together with names, types
and values of the attributes (SQS Developer Guide, "Message quotas"; API reference,
SetQueueAttributes). A queue made before August 2025 takes 262,144 bytes unless that was changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncbuild.domain.errors import Kind
from asyncbuild.domain.model import Message
from asyncbuild.forges.webhooks.delivery import first_sent, kept_attributes

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import MessageAttributeValueTypeDef

_MOST_ATTRIBUTES: Final = 10  # of one message (SQS Developer Guide, message metadata)
_MOST_REASON: Final = 2_000
_LEAST_REASON: Final = 20  # a shorter reason tells nothing
_REASON: Final = "Reason"

Attributes = Mapping[str, "MessageAttributeValueTypeDef"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Attributes that fit beside a body, and the names of those that were cut or left out."""

    attributes: Attributes
    lacking: tuple[str, ...] = ()


def fit(message: Message, *, kind: Kind, reason: str, attempts: int, limit_bytes: int) -> Fitted:
    """Return attributes for the dead letter of `message`, as many as fit into `limit_bytes`.

    First come those without which the message cannot be read again, such as a webhook's signature;
    then short ones; the reason is last, and cut to the remaining room.

    Args:
        message: The message to dead-letter; its body goes along unchanged.
        kind: Kind of the error.
        reason: The error's text, for people.
        attempts: How often it was tried.
        limit_bytes: MaximumMessageSize of the dead-letter queue.
    """
    room = limit_bytes - size_of_body(message)
    taken: dict[str, MessageAttributeValueTypeDef] = {}
    lacking: list[str] = []
    for name, value in _by_importance(message, kind=kind, reason=reason, attempts=attempts):
        fitting = _cut(name, value, room) if name == _REASON else value
        if fitting is None or _size(name, fitting) > room:
            lacking.append(name)
            continue
        if fitting != value:
            lacking.append(name)
        taken[name] = fitting
        room -= _size(name, fitting)
    return Fitted(taken, tuple(lacking))


def size_of_body(message: Message) -> int:
    """Return the length of a message's body in bytes, as SQS counts them."""
    return len(message.body.encode("utf-8", "surrogatepass"))


def _by_importance(
    message: Message, *, kind: Kind, reason: str, attempts: int
) -> Iterable[tuple[str, "MessageAttributeValueTypeDef"]]:
    why = {
        "ErrorKind": _text(kind),
        "Attempts": _number(attempts),
        "OriginalMessageId": _text(message.id),
        "OriginalSequenceNumber": _text(str(message.sequence)),
        _REASON: _text(reason),
    }
    known = {**first_sent(message), **message.attributes}
    kept = kept_attributes(known, _MOST_ATTRIBUTES - len(why))
    # The message's own attributes come before added ones.
    own = sorted(kept, key=lambda name: name not in message.attributes)
    return [*((name, _text(kept[name])) for name in own), *why.items()]


def _cut(
    name: str, value: "MessageAttributeValueTypeDef", room: int
) -> "MessageAttributeValueTypeDef | None":
    """Return the value with its text cut to `room` bytes; None if too little would remain."""
    if _size(name, value) <= room:
        return value
    most = room - len(name) - len(value["DataType"])
    if most < _LEAST_REASON:
        return None
    text = value["StringValue"].encode()[: most - len("…".encode())].decode(errors="ignore")
    return {"DataType": value["DataType"], "StringValue": f"{text}…"}


def _size(name: str, value: "MessageAttributeValueTypeDef") -> int:
    return len(name.encode()) + len(value["DataType"]) + len(value["StringValue"].encode())


def _text(value: str) -> "MessageAttributeValueTypeDef":
    # SQS takes tab, line feeds and the characters of XML 1.0, and no empty value.
    legal = "".join(c if c in "\t\n\r" or c >= " " else "?" for c in value[:_MOST_REASON])
    legal = legal.encode("utf-8", "replace").decode().replace("\ufffe", "?").replace("\uffff", "?")
    return {"DataType": "String", "StringValue": legal or "-"}


def _number(value: int) -> "MessageAttributeValueTypeDef":
    return {"DataType": "Number", "StringValue": str(value)}
