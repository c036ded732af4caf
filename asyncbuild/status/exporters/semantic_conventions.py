"""OpenTelemetry's names for the fields of events: attributes, names and kinds of spans. Pure.

They follow https://opentelemetry.io/docs/specs/semconv/ : messaging/messaging-spans,
messaging/sqs and cicd/cicd-spans, and of registry/attributes/ error and vcs. A field without a
convention is `asyncbuild.` and its name.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from asyncbuild.domain.events.event import PUSH_FIELDS, Emitted
from asyncbuild.domain.events.result_events import ResultRecorded
from asyncbuild.domain.events.stage_events import PushStartStarted, StageStarted
from asyncbuild.domain.results.build_result import BuildStatus

Attributes = dict[str, str | int | float]

# Stages that call another side are its clients.
CLIENTS: Final[Mapping[str, str]] = {
    "push.fetch": "git",
    "push.upload": "s3",
    "push.start": "codebuild",
}
# Fields that the span itself has, or that repeat it.
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
# Values of cicd.pipeline.result: a failure is the build's own, an error that of its system.
_RESULTS: Final[Mapping[BuildStatus, str]] = {
    BuildStatus.SUCCEEDED: "success",
    BuildStatus.FAILED: "failure",
    BuildStatus.FAULT: "error",
    BuildStatus.TIMED_OUT: "timeout",
    BuildStatus.STOPPED: "cancellation",
}


def of_queue(url: str) -> Attributes:
    """Return the attributes of every message: its queue, and that it is processed."""
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
    """Return the fields of an event. Those of a push have both names: dashboards use either."""
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
    """Return the side that a stage calls; empty for stages without one."""
    if isinstance(started, PushStartStarted) and started.pipeline:
        return "codepipeline"
    return CLIENTS.get(started.stage_name, "")


def name_of_process(queue_url: str) -> str:
    """Return the name of the span of a whole push: `{operation} {destination}`."""
    return f"process {queue_url.rpartition('/')[2]}".rstrip()


def name_of_run(result: ResultRecorded) -> str:
    """Return the name of the span of a build or execution: `{action} {pipeline}`."""
    return f"{_action_of(result)} {result.project or result.pipeline or ''}".rstrip()


def of_run(result: ResultRecorded) -> Attributes:
    """Return the attributes of a pipeline run, which a build or execution is."""
    attributes: Attributes = {
        "cicd.pipeline.action.name": _action_of(result),
        "cicd.pipeline.name": result.project or result.pipeline or "",
        "cicd.pipeline.run.id": result.build_id,
    }
    if result.status in _RESULTS:
        attributes["cicd.pipeline.result"] = _RESULTS[result.status]
    if result.log_link:
        attributes["cicd.pipeline.run.url.full"] = result.log_link
    if result.status.is_failed:
        attributes["error.type"] = result.status.value
    return attributes


def _action_of(result: ResultRecorded) -> str:
    return "RUN" if result.pipeline else "BUILD"
