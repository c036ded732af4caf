"""A build of the stand-in: what was asked for, and its document at any time."""

from dataclasses import dataclass, field

from asyncbuild.local.servers.aws_json import Document
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.journal import AcceptedStart
from asyncbuild.local.servers.served import ACCOUNT, REGION

ARN = f"arn:aws:codebuild:{REGION}:{ACCOUNT}"
OURS = "asyncbuild-role/asyncbuild"  # initiator: the session of an assumed role


@dataclass(slots=True)
class StoredBuild:
    """A build that was started, again by CodeBuild's automatic retry, or by another user.

    Attributes:
        started: The start. Of a retry and of a foreign build it is a made-up one.
        document: What does not change while the build runs.
        script: Its course.
        retry_limit: How often CodeBuild tries it again after a failure.
        previous: The attempt before this one.
        next: The attempt after this one, once there is one.
        stopped_at: When it was stopped, in epoch seconds.
    """

    started: AcceptedStart
    document: Document
    script: Script
    retry_limit: int = 0
    previous: "StoredBuild | None" = None
    next: "StoredBuild | None" = None
    stopped_at: float | None = None
    _scripted_end: float = field(init=False)

    def __post_init__(self) -> None:
        self._scripted_end = self.started.time + self.script.seconds

    @property
    def id(self) -> str:
        """Id: `project:uuid`."""
        return self.started.build

    @property
    def arn(self) -> str:
        """ARN of the build."""
        return f"{ARN}:build/{self.id}"

    @property
    def ends_at(self) -> float:
        """End of the build, in epoch seconds."""
        return self._scripted_end if self.stopped_at is None else self.stopped_at

    @property
    def retry_number(self) -> int:
        """Number of attempts before this one."""
        return 0 if self.previous is None else self.previous.retry_number + 1

    @property
    def is_retried(self) -> bool:
        """Return whether CodeBuild tries the build again, once it has ended as its script says."""
        failed = self.stopped_at is None and self.script.status == "FAILED"
        return failed and self.retry_number < self.retry_limit

    def newest(self) -> "StoredBuild":
        """Return the last attempt that there is."""
        return self if self.next is None else self.next.newest()

    def seen_at(self, now: float) -> Document:
        """Return the build's document as it is at `now`, in epoch seconds."""
        phases, ended = self._phases_at(now), now >= self.ends_at
        progress: Document = {
            "buildStatus": self._status() if ended else "IN_PROGRESS",
            "currentPhase": phases[-1]["phaseType"],
            "phases": phases,
            "logs": _logs(self.started) if len(phases) > 2 else {},  # noqa: PLR2004 - from PROVISIONING on (API, LogsLocation)
            "buildComplete": ended,
            **({"endTime": self.ends_at} if ended else {}),
        }
        return {**self.document, **progress, **self._retries_at(now)}

    def _status(self) -> str:
        return self.script.status if self.stopped_at is None else "STOPPED"

    def _phases_at(self, now: float) -> list[Document]:
        begun = self.started.time
        phases = []
        for phase in self.script.iter_phases():
            until = begun + phase.seconds
            if self.stopped_at is not None and until >= self.stopped_at:
                stopped = phase.document(begun, until=self.stopped_at)
                phases.append({**stopped, "phaseStatus": "STOPPED", "contexts": []})
                break
            if now < until:
                return [*phases, phase.document(begun, until=None)]
            phases.append(phase.document(begun, until=until))
            begun = until
        return [*phases, {"phaseType": "COMPLETED", "startTime": self.ends_at}]

    def _retries_at(self, now: float) -> Document:
        if not self.retry_limit:
            return {}
        config: Document = {
            "autoRetryLimit": self.retry_limit,
            "autoRetryNumber": self.retry_number,
        }
        if self.previous is not None:
            config["previousAutoRetry"] = self.previous.arn
        if self.next is not None and now >= self.next.started.time:
            config["nextAutoRetry"] = self.next.arn
        return {"autoRetryConfig": config}


def _logs(started: AcceptedStart) -> Document:
    group, stream = f"/aws/codebuild/{started.project}", started.build.partition(":")[2]
    console = f"https://console.aws.amazon.com/cloudwatch/home?region={REGION}"
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:log-stream:{stream}"
    return {
        "groupName": group,
        "streamName": stream,
        "deepLink": f"{console}#logEvent:group={group};stream={stream}",
        "cloudWatchLogsArn": arn,
    }


def document_of(started: AcceptedStart, project: Document, *, initiator: str = OURS) -> Document:
    """Return what BatchGetBuilds tells of a build from its start on.

    Args:
        started: The start.
        project: Document of its project, whose values the request overrides.
        initiator: Principal that started it.
    """
    request = started.request
    environment: Document = dict(project["environment"])
    variables = {each["name"]: each for each in environment.get("environmentVariables", [])}
    for each in request.get("environmentVariablesOverride", []):
        variables[each["name"]] = {"type": "PLAINTEXT", **each}
    source = dict(project["source"])
    if "sourceTypeOverride" in request:
        source = {"type": request["sourceTypeOverride"]}
    if "sourceLocationOverride" in request:
        source["location"] = request["sourceLocationOverride"]
    version = request.get("sourceVersion")
    return {
        "id": started.build,
        "arn": f"{ARN}:build/{started.build}",
        "buildNumber": started.number,
        "projectName": request["projectName"],
        "startTime": started.time,
        "source": source,
        "environment": {**environment, "environmentVariables": list(variables.values())},
        "serviceRole": project["serviceRole"],
        "timeoutInMinutes": request.get("timeoutInMinutesOverride", 60),
        "queuedTimeoutInMinutes": request.get("queuedTimeoutInMinutesOverride", 480),
        "initiator": initiator,
        **({"sourceVersion": version, "resolvedSourceVersion": version} if version else {}),
    }


def batch_document(id_: str, status: str, *, begun: float, until: float) -> Document:
    """Return a batch as BatchGetBuildBatches tells it; its builds name it in `buildBatchArn`.

    Args:
        id_: Id, `project:uuid`.
        status: IN_PROGRESS, or its end.
        begun: When it began, in epoch seconds.
        until: When it ended.
    """
    ended = status != "IN_PROGRESS"
    return {
        "id": id_,
        "arn": f"{ARN}:build-batch/{id_}",
        "projectName": id_.partition(":")[0],
        "buildBatchNumber": 1,
        "buildBatchStatus": status,
        "currentPhase": status,
        "startTime": begun,
        "complete": ended,
        "initiator": OURS,
        "phases": [{"phaseType": "IN_PROGRESS", "phaseStatus": status, "startTime": begun}],
        **({"endTime": until} if ended else {}),
    }
