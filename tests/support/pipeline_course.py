"""Courses of the stand-in's pipeline executions: their actions, their ends, and their events.

Sources: AWS CodePipeline API Reference (PipelineExecution, ActionExecutionDetail); user guide,
"Monitoring CodePipeline events", pipeline-level events.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from asyncbuild.local.servers.aws_json import Document
from asyncbuild.local.servers.served import ACCOUNT, REGION

_NAMES = uuid.UUID("7f7f9d2c-1f6b-4a2a-8a57-6f9f6f1d3f10")
_STATES = {
    "InProgress": "STARTED",
    "Succeeded": "SUCCEEDED",
    "Failed": "FAILED",
    "Cancelled": "CANCELED",
    "Stopping": "STOPPING",
    "Stopped": "STOPPED",
    "Superseded": "SUPERSEDED",
}


@dataclass(frozen=True, slots=True)
class PipelineEnd:
    """End of an execution: its status; of a failure the action, and its message."""

    status: str = "Succeeded"
    action: str = "Deploy"
    message: str = (
        "Build terminated with state: FAILED. Phase: BUILD, Code: COMMAND_EXECUTION_ERROR"
    )


@dataclass(frozen=True, slots=True)
class SeededPipelineEnds:
    """Ends drawn from a seed: a share fails, and another is stopped or superseded."""

    seed: int = 1
    failed: float = 0.2
    stopped: float = 0.1

    def draw(self, key: str) -> PipelineEnd:
        """Return the end of the execution that `key` names."""
        random = Random(f"{self.seed}/{key}")  # noqa: S311 - repeatable, not secret
        drawn = random.random()
        if drawn < self.failed:
            return PipelineEnd("Failed")
        if drawn < self.failed + self.stopped:
            return PipelineEnd(random.choice(["Stopped", "Superseded", "Cancelled"]))
        return PipelineEnd()


def actions_of(
    id_: str, pipeline: Mapping[str, Any], end: PipelineEnd, *, begun: float, until: float
) -> list[Document]:
    """Return the action executions, newest first; those after a failed one have not run.

    Args:
        id_: Id of the execution.
        pipeline: Its declaration.
        end: Its end.
        begun: Start in epoch seconds.
        until: End in epoch seconds; the actions share the time.
    """
    named = [(stage["name"], action) for stage in pipeline["stages"] for action in stage["actions"]]
    seconds = (until - begun) / len(named)
    found: list[Document] = []
    for number, (stage, action) in enumerate(named):
        failed = end.status == "Failed" and action["name"] == end.action
        detail: Document = {
            "pipelineExecutionId": id_,
            "actionExecutionId": str(uuid.uuid5(_NAMES, f"{id_}/{action['name']}")),
            "pipelineVersion": 1,
            "stageName": stage,
            "actionName": action["name"],
            "startTime": begun + number * seconds,
            "lastUpdateTime": begun + (number + 1) * seconds,
            "status": "Failed" if failed else "Succeeded",
        }
        if failed:
            error = {"code": "JobFailed", "message": end.message}
            url = f"https://{REGION}.console.aws.amazon.com/codebuild/home#/builds/{id_}/view/new"
            told = {"externalExecutionId": id_, "externalExecutionUrl": url, "errorDetails": error}
            detail["output"] = {"executionResult": told}
        found.append(detail)
        if failed:
            break
    return found[::-1]


def execution_event(name: str, id_: str, status: str, *, time: float) -> Document:
    """Return the event that an execution has changed its state.

    Args:
        name: The pipeline.
        id_: The execution.
        status: Status as the API names it.
        time: When it changed, in epoch seconds.
    """
    moment = datetime.fromtimestamp(time, UTC)
    role = f"arn:aws:sts::{ACCOUNT}:assumed-role/asyncbuild-role/asyncbuild"
    return {
        "version": "0",
        "id": str(uuid.uuid5(_NAMES, f"{id_} {status}")),
        "detail-type": "CodePipeline Pipeline Execution State Change",
        "source": "aws.codepipeline",
        "account": ACCOUNT,
        "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:{name}"],
        "detail": {
            "pipeline": name,
            "execution-id": id_,
            "start-time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "execution-trigger": {"trigger-type": "StartPipelineExecution", "trigger-detail": role},
            "pipeline-execution-attempt": 1.0,
            "state": _STATES[status],
            "version": 1.0,
        },
    }
