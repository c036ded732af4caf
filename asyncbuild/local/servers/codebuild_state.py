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
- A build goes through its phases, and ends (API, Build, phases): `build_script.py` says how.
- A build that FAILED is started again as often as `autoRetryLimitOverride` says, else the project's
  `autoRetryLimit`: a build of its own with the same request, the two linked by their ARNs (API,
  AutoRetryConfig). Whether a FAILED build is seen without its `nextAutoRetry` for a moment is not
  documented; `retry_seconds` makes it so. That other ends are not tried again is a guess.
- Others start builds, too: by hand in the console, with a copy of the variables (`foreign`).
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random

import anyio

from asyncbuild.local.servers.aws_json import AwsError, Document
from asyncbuild.local.servers.build_script import Script, SeededScripts
from asyncbuild.local.servers.journal import AcceptedStart, Journal
from asyncbuild.local.servers.served import ACCOUNT, Standin
from asyncbuild.local.servers.stored_build import ARN, StoredBuild, document_of

TOKEN_SECONDS = 300.0
_PAGE = 100
_RETRIES = uuid.UUID("5a5f9f0e-3c0c-4f0e-9a55-1f6d0c1f4b5e")
_BY_HAND = "MyCodeBuildDemoUser"  # initiator of foreign builds
_OF_RETRIES = "codebuild-role/AWSCodeBuild"


@dataclass(slots=True)
class CodeBuildStandin(Standin[AcceptedStart]):
    """State of the stand-in, with the switches for tests.

    `running_limit`, `script` and the others may be changed at any time; `started` holds every
    accepted StartBuild, its request verbatim.

    Attributes:
        script: Course of coming builds; of `SeededScripts` each has its own.
        retry_seconds: Time from the end of a failed build to the start of its next attempt.
        foreign_share: Share of accepted builds of which another user starts a copy at once.
        foreign: Builds that others have started.
        batches: Documents of batches by id; a test puts them there (`stored_build.batch_document`).
        watchers: Functions called with every new build, and again when it was stopped.
    """

    script: Script | SeededScripts = field(default_factory=Script)
    retry_seconds: float = 0.0
    foreign_share: float = 0.0
    journal: Journal | None = None
    foreign: list[StoredBuild] = field(default_factory=list)
    batches: dict[str, Document] = field(default_factory=dict)
    watchers: list[Callable[[StoredBuild], None]] = field(default_factory=list)
    _projects: dict[str, Document] = field(default_factory=dict)
    _builds: dict[str, StoredBuild] = field(default_factory=dict)
    _of_project: dict[str, list[str]] = field(default_factory=dict)
    _tokens: dict[str, StoredBuild] = field(default_factory=dict)
    _retriable: list[StoredBuild] = field(default_factory=list)
    _starting: anyio.Lock = field(default_factory=anyio.Lock)

    def add_project(self, name: str, *, retries: int = 0) -> None:
        """Make a project as CreateProject would, unless it exists.

        Args:
            name: Name of the project.
            retries: How often CodeBuild tries a failed build of it again.
        """
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
                    "autoRetryLimit": retries,
                }
            )

    async def answer(self, operation: str, members: Document) -> Document:
        """Answer one request that fits the service model.

        Raises:
            AwsError: The request is refused.
        """
        self.note_call(operation)
        self.settle()
        match operation:
            case "StartBuild":
                async with self._starting:  # the journal's order is the order of acceptance
                    return {"build": await self._start_build(members)}
            case "StopBuild":
                return {"build": self._stop_build(members["id"])}
            case "BatchGetBuilds" | "BatchGetBuildBatches":
                return self._get_builds(operation, members["ids"])
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

    def remember(self, started: AcceptedStart) -> StoredBuild:
        """Add an accepted build, a new one or one of the journal, and return it."""
        build = self._add(started)
        self.started.append(started)
        if token := started.request.get("idempotencyToken"):
            self._tokens[token] = build
        return build

    def start_foreign(self, id_: str) -> StoredBuild:
        """Start a build of the same project, source and variables, as a user of the console does.

        Args:
            id_: Id of the build that is copied.
        """
        copied = self._builds[id_].started.request
        request = {name: each for name, each in copied.items() if name != "idempotencyToken"}
        project = request["projectName"]
        number = self._next_number(project)
        started = AcceptedStart(self.clock(), f"{project}:{uuid.uuid4()}", number, request)
        build = self._add(started, initiator=_BY_HAND)
        self.foreign.append(build)
        return build

    def build(self, id_: str) -> StoredBuild:
        """Return a build that was started by anybody."""
        return self._builds[id_]

    def is_at_rest(self) -> bool:
        """Return whether all builds have ended, and none will be tried again."""
        self.settle()
        now = self.clock()
        return not self._retriable and all(now >= each.ends_at for each in self._builds.values())

    def settle(self) -> None:
        """Start the next attempt of each build that has failed by now and is tried again."""
        now = self.clock()
        while due := [b for b in self._retriable if now >= b.ends_at + self.retry_seconds]:
            for build in due:
                self._retriable.remove(build)
                if build.is_retried:  # it was not stopped in time
                    self._retry(build)

    def _retry(self, build: StoredBuild) -> None:
        # An id that follows from the one before: a journal that is opened again finds the same.
        id_ = f"{build.started.project}:{uuid.uuid5(_RETRIES, build.id)}"
        begun, number = build.ends_at + self.retry_seconds, self._next_number(build.started.project)
        started = replace(build.started, time=begun, build=id_, number=number)
        build.next = self._add(started, initiator=_OF_RETRIES, previous=build)

    def _add(
        self,
        started: AcceptedStart,
        *,
        previous: StoredBuild | None = None,
        **initiator: str,
    ) -> StoredBuild:
        name = started.project
        self.add_project(name)
        project = self._projects[name]
        retries = "autoRetryLimitOverride"
        limit = int(started.request.get(retries) or project.get("autoRetryLimit", 0))
        document = document_of(started, project, **initiator)
        script = self.script
        if isinstance(script, SeededScripts):
            number = 0 if previous is None else previous.retry_number + 1
            key = started.location or f"{name}/{started.number}"
            script = script.draw(f"{key}/{number}/{initiator.get('initiator', '')}")
        build = StoredBuild(started, document, script, limit, previous)
        self._builds[build.id] = build
        self._of_project.setdefault(name, []).append(build.id)
        if build.is_retried:
            self._retriable.append(build)
        for watch in self.watchers:
            watch(build)
        return build

    def _next_number(self, project: str) -> int:
        return len(self._of_project.get(project, [])) + 1

    async def _start_build(self, request: Document) -> Document:
        now = self.clock()
        name = request["projectName"]
        if name not in self._projects:
            raise AwsError("ResourceNotFoundException", f"Project cannot be found: {ARN}:{name}")
        _check_start(request)
        known = self._tokens.get(request.get("idempotencyToken", ""))
        if known is not None and now - known.started.time < TOKEN_SECONDS:
            if known.started.request != request:
                message = "Parameter mismatch: this idempotencyToken came with other parameters"
                raise AwsError("InvalidInputException", message)
            return known.seen_at(now)
        if self.running_limit is not None and self._count_running(now) >= self.running_limit:
            message = f"Cannot have more than {self.running_limit} builds in queue for the account"
            raise AwsError("AccountLimitExceededException", message)
        started = AcceptedStart(now, f"{name}:{uuid.uuid4()}", self._next_number(name), request)
        if self.journal is not None:
            await self.journal.write(started)
        build = self.remember(started)
        self.tell_started()
        if Random(f"foreign/{started.location}").random() < self.foreign_share:  # noqa: S311 - repeatable, not secret
            self.start_foreign(build.id)
        return build.seen_at(now)

    def _count_running(self, now: float) -> int:
        return sum(1 for build in self._builds.values() if now < build.ends_at)

    def _stop_build(self, id_: str) -> Document:
        build = self._builds.get(id_)
        if build is None:
            raise AwsError("ResourceNotFoundException", f"Build cannot be found: {id_}")
        now = self.clock()
        if now < build.ends_at:
            build.stopped_at = now
            for watch in self.watchers:
                watch(build)
        return build.seen_at(now)

    def _get_builds(self, operation: str, ids: list[str]) -> Document:
        if operation == "BatchGetBuildBatches":
            found, missing = _split(ids, self.batches)
            batches = [self.batches[id_] for id_ in found]
            return {"buildBatches": batches, "buildBatchesNotFound": missing}
        found, missing = _split(ids, self._builds)
        now = self.clock()
        builds = [self._builds[id_].seen_at(now) for id_ in found]
        return {"builds": builds, "buildsNotFound": missing}

    def _list_builds(self, members: Document) -> Document:
        name = members["projectName"]
        if name not in self._projects:
            raise AwsError("ResourceNotFoundException", f"Project cannot be found: {ARN}:{name}")
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
            message = f"Project already exists: {ARN}:project/{name}"
            raise AwsError("ResourceAlreadyExistsException", message)
        now = self.clock()
        made = {"arn": f"{ARN}:project/{name}", "created": now, "lastModified": now}
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
