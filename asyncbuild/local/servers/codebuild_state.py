"""Rules and state of a stand-in for CodeBuild; `codebuild_server.py` serves them.

Known emulators neither keep the request of StartBuild nor honour its idempotency token. This one
does nothing else: it builds nothing, but it checks and remembers requests as CodeBuild would. Its
rules, each with its source (API = AWS CodeBuild API Reference, model = botocore's service model):

- A request must fit the model: members, types, enums, lengths, patterns (model). Another one is
  an InvalidInputException; AWS may call it ValidationException, which means the same to a client.
- An unknown project is a ResourceNotFoundException (API, StartBuild, Errors).
- A repeated idempotency token returns the build of its first use, for five minutes; with any other
  parameter it is an error (API, StartBuild, idempotencyToken). Which error is not documented;
  InvalidInputException is the only one of the three declared that fits.
- Above the limit of running builds StartBuild is an AccountLimitExceededException, HTTP 400 (API,
  StartBuild, Errors). The real limit counts queued builds; here it is a number to set.
- An S3 source is `bucket/path/object.zip` (API, ProjectSource, location), and
  reportBuildStatusOverride does not go with it (API, StartBuild, reportBuildStatusOverride).
- A variable's name that begins with CODEBUILD_ is refused. The user guide ("Environment variables
  in build environments") forbids it; whether AWS refuses the call is not documented.
- Builds are listed newest first, a hundred a page; naming a sort order is an error once a project
  has more than a hundred builds (API, ListBuildsForProject, sortOrder).
- A build is SUBMITTED, QUEUED, in progress, COMPLETED (API, Build, currentPhase); how long each
  takes, and its end, is scripted. Nothing runs: the phase follows from the clock.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

import anyio

from asyncbuild.local.servers.aws_json import AwsError, Document
from asyncbuild.local.servers.journal import AcceptedStart, Journal
from asyncbuild.local.servers.served import ACCOUNT, REGION, Standin

TOKEN_SECONDS = 300.0
_PAGE = 100
_ARN = f"arn:aws:codebuild:{REGION}:{ACCOUNT}"


@dataclass(frozen=True, slots=True)
class Script:
    """Course of a build: its time in the queue, its time in work, and its end."""

    queued_seconds: float = 0.5
    build_seconds: float = 2.0
    status: str = "SUCCEEDED"


@dataclass(slots=True)
class _StoredBuild:
    started: AcceptedStart
    document: Document
    script: Script
    stopped_at: float | None = None

    @property
    def ends_at(self) -> float:
        if self.stopped_at is not None:
            return self.stopped_at
        return self.started.time + self.script.queued_seconds + self.script.build_seconds

    def seen_at(self, now: float) -> Document:
        """Return the build's document as it is at `now`."""
        elapsed = now - self.started.time
        if now >= self.ends_at:
            status = self.script.status if self.stopped_at is None else "STOPPED"
            progress = {"buildStatus": status, "currentPhase": "COMPLETED", "endTime": self.ends_at}
        elif elapsed >= self.script.queued_seconds:
            progress = {"buildStatus": "IN_PROGRESS", "currentPhase": "BUILD"}
        else:
            phase = "SUBMITTED" if elapsed < self.script.queued_seconds / 2 else "QUEUED"
            progress = {"buildStatus": "IN_PROGRESS", "currentPhase": phase}
        return {**self.document, **progress, "buildComplete": now >= self.ends_at}


@dataclass(slots=True)
class CodeBuildStandin(Standin[AcceptedStart]):
    """State of the stand-in, with the switches for tests.

    `running_limit` and `script` may be changed at any time; `started` holds every accepted
    StartBuild, its request verbatim.
    """

    script: Script = field(default_factory=Script)
    journal: Journal | None = None
    _projects: dict[str, Document] = field(default_factory=dict)
    _builds: dict[str, _StoredBuild] = field(default_factory=dict)
    _of_project: dict[str, list[str]] = field(default_factory=dict)
    _tokens: dict[str, _StoredBuild] = field(default_factory=dict)
    _starting: anyio.Lock = field(default_factory=anyio.Lock)

    def add_project(self, name: str) -> None:
        """Make a project as CreateProject would, unless it exists."""
        if name not in self._projects:
            self._create_project(
                {
                    "name": name,
                    "source": {"type": "NO_SOURCE", "buildspec": "version: 0.2"},
                    "artifacts": {"type": "NO_ARTIFACTS"},
                    "environment": {
                        "type": "LINUX_CONTAINER",
                        "image": "aws/codebuild/standard:7.0",
                        "computeType": "BUILD_GENERAL1_SMALL",
                    },
                    "serviceRole": f"arn:aws:iam::{ACCOUNT}:role/codebuild",
                }
            )

    async def answer(self, operation: str, members: Document) -> Document:
        """Answer one request that fits the service model.

        Raises:
            AwsError: The request is refused.
        """
        self.note_call(operation)
        match operation:
            case "StartBuild":
                async with self._starting:  # the journal's order is the order of acceptance
                    return {"build": await self._start_build(members)}
            case "StopBuild":
                return {"build": self._stop_build(members["id"])}
            case "BatchGetBuilds":
                found, missing = _split(members["ids"], self._builds)
                now = self.clock()
                builds = [self._builds[id_].seen_at(now) for id_ in found]
                return {"builds": builds, "buildsNotFound": missing}
            case "ListBuildsForProject":
                return self._list_builds(members)
            case "CreateProject":
                return {"project": self._create_project(members)}
            case "BatchGetProjects":
                found, missing = _split(members["names"], self._projects)
                projects = [self._projects[name] for name in found]
                return {"projects": projects, "projectsNotFound": missing}
            case _:
                raise AwsError("UnknownOperationException", f"{operation} has no stand-in")

    def remember(self, started: AcceptedStart) -> Document:
        """Add an accepted build, a new one or one of the journal; return its document."""
        request = started.request
        name = request["projectName"]
        self.add_project(name)
        document = _document(started, self._projects[name])
        build = _StoredBuild(started, document, self.script)
        self.started.append(started)
        self._builds[started.build] = build
        self._of_project.setdefault(name, []).append(started.build)
        if token := request.get("idempotencyToken"):
            self._tokens[token] = build
        return document

    async def _start_build(self, request: Document) -> Document:
        now = self.clock()
        name = request["projectName"]
        if name not in self._projects:
            raise AwsError("ResourceNotFoundException", f"Project cannot be found: {_ARN}:{name}")
        _check_start(request)
        known = self._tokens.get(request.get("idempotencyToken", ""))
        if known is not None and now - known.started.time < TOKEN_SECONDS:
            if known.started.request != request:
                message = "Parameter mismatch: this idempotencyToken came with other parameters"
                raise AwsError("InvalidInputException", message)
            return known.seen_at(now)
        running = sum(1 for build in self._builds.values() if now < build.ends_at)
        if self.running_limit is not None and running >= self.running_limit:
            message = f"Cannot have more than {self.running_limit} builds in queue for the account"
            raise AwsError("AccountLimitExceededException", message)
        number = len(self._of_project.get(name, [])) + 1
        started = AcceptedStart(now, f"{name}:{uuid.uuid4()}", number, request)
        if self.journal is not None:
            await self.journal.write(started)
        self.remember(started)
        self.tell_started()
        return self._builds[started.build].seen_at(now)

    def _stop_build(self, id_: str) -> Document:
        build = self._builds.get(id_)
        if build is None:
            raise AwsError("ResourceNotFoundException", f"Build cannot be found: {id_}")
        now = self.clock()
        if now < build.ends_at:
            build.stopped_at = now
        return build.seen_at(now)

    def _list_builds(self, members: Document) -> Document:
        name = members["projectName"]
        if name not in self._projects:
            raise AwsError("ResourceNotFoundException", f"Project cannot be found: {_ARN}:{name}")
        ids = self._of_project.get(name, [])
        order = members.get("sortOrder")
        if order and len(ids) > _PAGE:
            message = f"sortOrder cannot be used on a project with more than {_PAGE} builds"
            raise AwsError("InvalidInputException", message)
        token = members.get("nextToken", "0")
        if not token.isascii() or not token.isdigit():
            raise AwsError("InvalidInputException", f"Invalid nextToken: {token}")
        first = int(token)
        wanted = list(ids) if order == "ASCENDING" else ids[::-1]
        page = wanted[first : first + _PAGE]
        more = {"nextToken": str(first + _PAGE)} if first + _PAGE < len(ids) else {}
        return {"ids": page, **more}

    def _create_project(self, members: Document) -> Document:
        name = members["name"]
        if name in self._projects:
            message = f"Project already exists: {_ARN}:project/{name}"
            raise AwsError("ResourceAlreadyExistsException", message)
        now = self.clock()
        made = {"arn": f"{_ARN}:project/{name}", "created": now, "lastModified": now}
        self._projects[name] = {**members, **made}
        return self._projects[name]


def _split(names: Iterable[str], known: Iterable[str]) -> tuple[list[str], list[str]]:
    known = frozenset(known)
    names = list(dict.fromkeys(names))
    return [name for name in names if name in known], [name for name in names if name not in known]


def _check_start(request: Document) -> None:
    """Refuse requests that fit the service model but that CodeBuild refuses."""
    if request.get("sourceTypeOverride") == "S3":
        bucket, _, key = request.get("sourceLocationOverride", "").partition("/")
        if not bucket or not key:
            raise AwsError("InvalidInputException", "Invalid project source: location is invalid")
        if request.get("reportBuildStatusOverride"):
            message = "reportBuildStatus cannot be used with a source of type S3"
            raise AwsError("InvalidInputException", message)
    artifacts = request.get("artifactsOverride", {})
    if artifacts.get("type") == "S3" and not artifacts.get("location"):
        raise AwsError("InvalidInputException", "Invalid artifacts: location must be set")
    for variable in request.get("environmentVariablesOverride", []):
        if variable["name"].startswith("CODEBUILD_"):
            message = f"Environment variable {variable['name']}: CODEBUILD_ is reserved"
            raise AwsError("InvalidInputException", message)


def _document(started: AcceptedStart, project: Document) -> Document:
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
        "arn": f"{_ARN}:build/{started.build}",
        "buildNumber": started.number,
        "projectName": request["projectName"],
        "startTime": started.time,
        "source": source,
        "environment": {**environment, "environmentVariables": list(variables.values())},
        "serviceRole": project["serviceRole"],
        "timeoutInMinutes": request.get("timeoutInMinutesOverride", 60),
        "queuedTimeoutInMinutes": request.get("queuedTimeoutInMinutesOverride", 480),
        "initiator": "asyncbuild",
        **({"sourceVersion": version, "resolvedSourceVersion": version} if version else {}),
    }
