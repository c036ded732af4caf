"""Events of builds as EventBridge delivers them: `CodeBuild Build State Change`.

Source: AWS CodeBuild user guide, "Build notifications input format reference". Times are texts
without a zone, in UTC; the contexts of a phase are texts, `: ` where there is nothing to say.
"""

import uuid
from datetime import UTC, datetime

from asyncbuild.local.servers.aws_json import Document
from asyncbuild.local.servers.served import ACCOUNT, REGION

_NAMES = uuid.UUID("0b4a0f4c-6d0e-4a80-8f44-9d3a2c6b1f0d")


def build_event(build: Document) -> Document:
    """Return the event that a build has changed its state.

    Args:
        build: The build as BatchGetBuilds shows it when the event is sent.
    """
    status, phase = build["buildStatus"], build["phases"][-1]
    when: float = build["endTime" if build["buildComplete"] else "startTime"]
    return {
        "version": "0",
        "id": str(uuid.uuid5(_NAMES, f"{build['arn']} {status}")),
        "detail-type": "CodeBuild Build State Change",
        "source": "aws.codebuild",
        "account": ACCOUNT,
        "time": datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [build["arn"]],
        "detail": {
            "build-status": status,
            "project-name": build["projectName"],
            "build-id": build["arn"],
            "additional-information": _information(build),
            "current-phase": phase["phaseType"],
            "current-phase-context": "[]",
            "version": "1",
        },
    }


def _information(build: Document) -> Document:
    environment, logs = build["environment"], build["logs"]
    told = {
        "group-name": logs.get("groupName"),
        "stream-name": logs.get("streamName"),
        "deep-link": logs.get("deepLink"),
    }
    return {
        "cache": {"type": "NO_CACHE"},
        "build-number": float(build["buildNumber"]),
        "timeout-in-minutes": float(build["timeoutInMinutes"]),
        "build-complete": build["buildComplete"],
        "initiator": build["initiator"],
        "build-start-time": _time(build["startTime"]),
        "source": dict(build["source"]),
        **({"source-version": build["sourceVersion"]} if "sourceVersion" in build else {}),
        "artifact": {"location": ""},
        "environment": {
            "image": environment["image"],
            "privileged-mode": False,
            "image-pull-credentials-type": "CODEBUILD",
            "compute-type": environment["computeType"],
            "type": environment["type"],
            "environment-variables": environment["environmentVariables"],
        },
        "project-file-system-locations": [],
        "logs": {name: value for name, value in told.items() if value is not None},
        "phases": [_phase(phase) for phase in build["phases"]],
        "queued-timeout-in-minutes": float(build["queuedTimeoutInMinutes"]),
    }


def _phase(phase: Document) -> Document:
    begun: Document = {"start-time": _time(phase["startTime"]), "phase-type": phase["phaseType"]}
    if "endTime" not in phase:
        return begun
    contexts = [f"{each['statusCode']}: {each['message']}" for each in phase.get("contexts", [])]
    return {
        "phase-context": contexts,
        "end-time": _time(phase["endTime"]),
        "duration-in-seconds": float(phase["durationInSeconds"]),
        "phase-status": phase["phaseStatus"],
        **begun,
    }


def _time(epoch_seconds: float) -> str:
    """Return a time such as `Sep 1, 2017 4:12:29 PM`."""
    moment = datetime.fromtimestamp(epoch_seconds, UTC)
    return f"{moment:%b} {moment.day}, {moment.year} {int(moment.strftime('%I'))}:{moment:%M:%S %p}"
