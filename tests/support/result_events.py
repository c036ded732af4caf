"""Messages of the queue of results, as EventBridge and the scheduler send them."""

from datetime import UTC, datetime
from typing import Any

import orjson

ACCOUNT, REGION = "123456789012", "eu-west-1"


def build_event(id_: str, status: str) -> dict[str, Any]:
    """Return CodeBuild's event about a build, with the fields that the service may look at.

    Source: CodeBuild user guide, "Build notifications input format reference".
    """
    arn = f"arn:aws:codebuild:{REGION}:{ACCOUNT}:build/{id_}"
    detail = {
        "build-status": status,
        "project-name": id_.partition(":")[0],
        "build-id": arn,
        "additional-information": {"build-complete": status != "IN_PROGRESS"},
        "current-phase": "COMPLETED",
        "version": "1",
    }
    return _event("CodeBuild Build State Change", "aws.codebuild", detail)


def execution_event(pipeline: str, execution: str, state: str) -> dict[str, Any]:
    """Return CodePipeline's event about an execution.

    Source: CodePipeline user guide, "Pipeline-level event types".
    """
    detail = {"pipeline": pipeline, "execution-id": execution, "state": state, "version": 1.0}
    return _event("CodePipeline Pipeline Execution State Change", "aws.codepipeline", detail)


def sweep_message(at: datetime | None = None) -> str:
    """Return the scheduler's message, which asks for a round."""
    at = at or datetime.now(UTC)
    message = {"asyncbuild": "sweep", "version": 1, "scheduled_time": f"{at:%Y-%m-%dT%H:%M:%SZ}"}
    return orjson.dumps(message).decode()


def _event(kind: str, source: str, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "c030038d-8c4d-6141-9545-00ff7b7153ef",
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": "2026-11-01T10:00:00Z",
        "region": REGION,
        "resources": [],
        "detail": detail,
    }
