"""Start of CodeBuild builds, once per push and project (I12).

Three mechanisms ensure that. Within five minutes the idempotency token does: the same request gives
the same build. CodeBuild refuses a request of the same push with other parameters (the object was
written again and has another version, a rule was changed); then the build exists already and is
looked up. After five minutes only a search finds it: `find_recent`.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from asyncbuild.aws.classify import codebuild_errors as errors_of
from asyncbuild.aws.session import CODEBUILD_MOST_SECONDS
from asyncbuild.builds.requests.start_build import EVENT_ID, is_of, parameters_of
from asyncbuild.config.sections import BuildSettings
from asyncbuild.domain.errors import Reject
from asyncbuild.domain.model import Build, BuildRequest, Guard

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient
    from types_aiobotocore_codebuild.type_defs import (
        BuildTypeDef,
        ListBuildsForProjectInputTypeDef,
    )

# A token lives five minutes (API reference, StartBuild); one more for clocks that differ.
_TOKEN_REMEMBERED = timedelta(minutes=6)
# A start repeated later than this looks for its build first. A call may take CODEBUILD_MOST_SECONDS
# (`aws/session.py`) with all its repetitions, and the last of them must still find the token.
TOKEN_TRUSTED_SECONDS = 240 - CODEBUILD_MOST_SECONDS


class CodeBuild:
    """Starts builds, and finds builds that were started before."""

    def __init__(self, client: "CodeBuildClient", settings: BuildSettings) -> None:
        self._client = client
        self._settings = settings

    async def start(self, request: BuildRequest, *, guard: Guard) -> Build:
        """Start the build, or return the one that the same request has started before.

        Raises:
            LeaseLost: `guard` raised it; nothing was started (I4).
            Busy: The account or project is at its limit, or calls are throttled.
            Reject: The project does not exist, or CodeBuild finds the request invalid.
            Denied: The role may not start builds of this project.
            Retry: CodeBuild did not answer as it should.
        """
        parameters = parameters_of(request, self._settings)
        guard()
        with errors_of(f"start a build of project {request.project}"):
            try:
                answer = await self._client.start_build(**parameters)
            except self._client.exceptions.ResourceNotFoundException as error:
                raise _no_project(request.project) from error
            except self._client.exceptions.InvalidInputException:
                started = await self._started_otherwise(request)
                if started is None:
                    raise
                return started
        return _build(answer["build"])

    async def find_recent(
        self, project: str, variables: Mapping[str, str], *, since: datetime
    ) -> Build | None:
        """Return the first build of `project` started for a push at or after `since`, if any.

        Later ones with the same variables are others': a user has started a copy in the console, or
        CodeBuild has tried a failed build again. Costs two calls for each hundred builds that the
        project has started since then.

        Args:
            project: Name of the project.
            variables: Variables that the push's build is started with: EVENT_ID identifies it.
            since: Builds that started earlier are not looked at.

        Raises:
            Busy, Reject, Denied, Retry: As for `start`.
        """
        found = None
        with errors_of(f"look through the recent builds of project {project}"):
            async for page in self._iter_pages(project):
                for build in page:
                    if build.get("startTime", since) >= since and _is_start(build, variables):
                        found = build
                if any(build.get("startTime", since) < since for build in page):
                    break
        return None if found is None else _build(found)

    async def _started_otherwise(self, request: BuildRequest) -> Build | None:
        """Return the build that this push has started with other parameters, if any.

        That is the likeliest reason for a refusal. CodeBuild calls it a "parameter mismatch error"
        and documents no code of its own for it, so the text of the answer is not parsed: if there
        is a build, that was the reason.
        """
        if EVENT_ID not in request.variables:
            return None
        since = datetime.now(UTC) - _TOKEN_REMEMBERED
        return await self.find_recent(request.project, request.variables, since=since)

    async def _iter_pages(self, project: str) -> AsyncIterator[list["BuildTypeDef"]]:
        """Yield builds of `project`, a hundred at a time, newest page first.

        No sortOrder: newest first is the default, and naming it is an error once a project has more
        than a hundred builds (API reference, ListBuildsForProject).
        """
        wanted: ListBuildsForProjectInputTypeDef = {"projectName": project}
        while True:
            try:
                listed = await self._client.list_builds_for_project(**wanted)
            except self._client.exceptions.ResourceNotFoundException as error:
                raise _no_project(project) from error
            ids = listed.get("ids", [])
            if ids:
                found = (await self._client.batch_get_builds(ids=ids))["builds"]
                yield sorted(found, key=lambda build: build.get("buildNumber", 0), reverse=True)
            if not listed.get("nextToken"):
                return
            wanted["nextToken"] = listed["nextToken"]


def _no_project(project: str) -> Reject:
    return Reject(
        f"CodeBuild project {project} does not exist in this account and region",
        remedy="create it, or correct `project` in [builds] or in the rule that names it",
        code="ResourceNotFoundException",
    )


def _is_start(build: "BuildTypeDef", variables: Mapping[str, str]) -> bool:
    """Return whether a build has a push's variables, and is not CodeBuild's own retry of one."""
    listed = build.get("environment", {}).get("environmentVariables", [])
    told = {each["name"]: each["value"] for each in listed}
    retried = build.get("autoRetryConfig", {}).get("previousAutoRetry")
    return is_of(told, variables) and not retried


def _build(build: "BuildTypeDef") -> Build:
    return Build(id=build["id"], arn=build.get("arn", ""), number=build.get("buildNumber"))
