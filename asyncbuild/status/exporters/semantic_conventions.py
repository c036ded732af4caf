"""OpenTelemetry's names for what an event says: attributes, names and kinds of spans. Pure.

They follow https://opentelemetry.io/docs/specs/semconv/ : messaging/messaging-spans and
messaging/sqs, and of registry/attributes/ error and vcs. What has no convention is `asyncbuild.`
and the name of the event's field.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from asyncbuild.domain.events.event import PUSH_FIELDS, Emitted
from asyncbuild.domain.events.stage_events import PushStartStarted, StageStarted

Attributes = dict[str, str | int | float]

# A stage that asks another side is a client of it.
CLIENTS: Final[Mapping[str, str]] = {
    "push.fetch": "git",
    "push.upload": "s3",
    "push.start": "codebuild",
}
# These are the span's own, or say what it is already.
_LEFT_OUT: Final = frozenset({"trace_id", "duration_seconds", "stage"})
_CONVENTIONS: Final[Mapping[str, str]] = {
    "repository": "vcs.repository.name",
    "ref": "vcs.ref.head.name",
    "commit": "vcs.ref.head.revision",
    "event_id": "messaging.message.conversation_id",
    "message_id": "messaging.message.id",
    "kind": "error.type",
    "peer": "peer.service",
}


def of_queue(url: str) -> Attributes:
    """Attributes of every message: where it comes from, and that it is processed."""
    parts = urlsplit(url)
    attributes: Attributes = {
        "messaging.system": "aws_sqs",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": url.rpartition("/")[2],
    }
    if parts.hostname:
        attributes |= {"aws.sqs.queue.url": url, "server.address": parts.hostname}
    if parts.port:
        attributes["server.port"] = parts.port
    return attributes


def of_event(told: Emitted) -> Attributes:
    """The fields of an event. Those of a push have both names: dashboards may know either."""
    attributes: Attributes = {}
    for name, value in told.fields().items():
        if name in _LEFT_OUT or value == "" or not isinstance(value, str | int | float):
            continue
        if name in _CONVENTIONS:
            attributes[_CONVENTIONS[name]] = value
        if name in PUSH_FIELDS or name not in _CONVENTIONS:
            attributes[f"asyncbuild.{name}"] = value
    return attributes


def peer_of(started: StageStarted) -> str:
    """Return whom a stage asks, or nothing."""
    if isinstance(started, PushStartStarted) and started.pipeline:
        return "codepipeline"
    return CLIENTS.get(started.stage_name, "")


def name_of_process(queue_url: str) -> str:
    """Name of the span of a whole push: `{operation} {destination}`."""
    return f"process {queue_url.rpartition('/')[2]}".rstrip()
