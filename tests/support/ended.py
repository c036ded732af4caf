"""Events of builds and executions that ended, as EventBridge delivers them.

Sources: CodeBuild User Guide, "Build notifications input format reference"; CodePipeline User
Guide, "Monitoring CodePipeline events".
"""

import uuid
from typing import Any

from support.events import ACCOUNT, REGION


def build_ended(
    location: str,
    *,
    status: str = "SUCCEEDED",
    source_type: str = "S3",
    project: str = "web",
) -> dict[str, Any]:
    """Return the event of a build that has changed to this state.

    Args:
        location: Where its source is: `bucket/key` in S3.
        status: State, in CodeBuild's words.
        source_type: Kind of its source.
        project: Name of its project.
    """
    number = uuid.uuid4()
    arn = f"arn:aws:codebuild:{REGION}:{ACCOUNT}:build/{project}:{number}"
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "CodeBuild Build State Change",
        "source": "aws.codebuild",
        "account": ACCOUNT,
        "time": "2026-11-01T10:28:13Z",
        "region": REGION,
        "resources": [arn],
        "detail": {
            "build-status": status,
            "project-name": project,
            "build-id": arn,
            "additional-information": {
                "environment": {
                    "image": "aws/codebuild/standard:7.0",
                    "privileged-mode": False,
                    "compute-type": "BUILD_GENERAL1_SMALL",
                    "type": "LINUX_CONTAINER",
                    "environment-variables": [
                        {"name": "COMMIT_ID", "type": "PLAINTEXT", "value": "a" * 40},
                        {"name": "EVENT_ID", "type": "PLAINTEXT", "value": str(uuid.uuid4())},
                    ],
                },
                "timeout-in-minutes": 60,
                "build-complete": status != "IN_PROGRESS",
                "initiator": "asyncbuild/session",
                "build-start-time": "Nov 1, 2026 10:23:50 AM",
                "source": {"location": location, "type": source_type},
                "logs": {"group-name": f"/aws/codebuild/{project}", "stream-name": str(number)},
                "phases": [],
            },
            "current-phase": "COMPLETED",
            "current-phase-context": "[]",
            "version": "1",
        },
    }


def execution_ended(pipeline: str, *, state: str = "SUCCEEDED") -> dict[str, Any]:
    """Return the event of an execution of a pipeline that has changed to this state."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "CodePipeline Pipeline Execution State Change",
        "source": "aws.codepipeline",
        "account": ACCOUNT,
        "time": "2026-11-01T10:28:13Z",
        "region": REGION,
        "resources": [f"arn:aws:codepipeline:{REGION}:{ACCOUNT}:{pipeline}"],
        "detail": {
            "pipeline": pipeline,
            "execution-id": str(uuid.uuid4()),
            "start-time": "2026-11-01T10:23:50.000Z",
            "state": state,
            "version": 1.0,
        },
    }
