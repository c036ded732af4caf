"""OpenTelemetry's names for what a log line says: attributes, names and kinds of spans. Pure.

They follow https://opentelemetry.io/docs/specs/semconv/ : messaging/messaging-spans and
messaging/sqs, and of registry/attributes/ error and vcs. What has no convention is `asyncbuild.`
and the name of the log's field.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from asyncbuild.domain.events import PUSH_FIELDS

Attributes = dict[str, str | int | float]

# A stage that asks another side is a client of it.
CLIENTS: Final[Mapping[str, str]] = {
    "push.fetch": "git",
    "push.upload": "s3",
    "push.start": "codebuild",
}
# These are the span's own, or say what it is already.
_LEFT_OUT: Final = frozenset(
    {"event", "level", "timestamp", "trace_id", "duration_seconds", "stage"}
)
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


def of_line(line: Mapping[str, Any]) -> Attributes:
    """The fields of a line. Those of a push have both names: dashboards may know either."""
    attributes: Attributes = {}
    for name, value in line.items():
        if name in _LEFT_OUT or value == "" or not isinstance(value, str | int | float):
            continue
        if name in _CONVENTIONS:
            attributes[_CONVENTIONS[name]] = value
        if name in PUSH_FIELDS or name not in _CONVENTIONS:
            attributes[f"asyncbuild.{name}"] = value
    return attributes


def peer_of(stage: str, line: Mapping[str, Any]) -> str:
    """Whom a stage asks, or nothing."""
    if line.get("pipeline") and stage == "push.start":
        return "codepipeline"
    return str(line.get("peer") or CLIENTS.get(stage, ""))


def name_of_process(queue_url: str) -> str:
    """Name of the span of a whole push: `{operation} {destination}`."""
    return f"process {queue_url.rpartition('/')[2]}".rstrip()
