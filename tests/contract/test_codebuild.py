"""Rules of CodeBuild that asyncbuild relies on, each tested through the client the service uses.

Runs on the stand-in and on ministack; where ministack differs from AWS's documentation, the test is
a named expected failure. Sources: API = AWS CodeBuild API Reference; model = botocore's service
model. Rules that need a clock or a limit are in
`tests/integration/local/test_codebuild_standin.py`; phases, ends and retries in
`test_build_courses.py` beside it.
"""

import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from botocore.exceptions import ClientError
from support.codebuild import open_codebuild_client, refusal

from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient

    from asyncbuild.local.servers.children import LocalServer

# Test → different behaviour of ministack 1.5.33.
DIFFERENCES = {
    "test_builds_what_was_requested": "of the overrides only sourceVersion is kept",
    "test_keeps_the_projects_own_variables": "variables of the request are dropped",
    "test_refuses_what_does_not_fit": "parameters are not checked",
    "test_a_repeat_returns_the_same_build": "the token is ignored: two builds",
    "test_refuses_other_parameters": "the token is ignored",
    "test_is_safe_among_concurrent_requests": "the token is ignored",
    "test_are_in_progress_at_first": "builds have succeeded as soon as they are started",
    "test_are_read_a_hundred_at_most": "any number of ids is taken",
    "test_are_listed_newest_first": "sortOrder is ignored",
    "test_are_listed_a_hundred_a_page": "one page holds everything",
    "test_have_a_name_of_letters": "parameters are not checked",
}


@pytest.fixture(params=["stand-in", "ministack"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator["CodeBuildClient"]:
    """Open a client of each server that has the API."""
    if request.param == "stand-in":
        async with (
            open_codebuild_standin() as standin,
            open_codebuild_client(standin.endpoint_url) as client,
        ):
            standin.script = Script(build_seconds=600)  # longer than any test
            yield client
        return
    reason = DIFFERENCES.get(request.node.originalname)
    if reason is not None:
        unlike = (
            AssertionError,
            pytest.fail.Exception,
        )  # an error of the connection is not a difference
        mark = pytest.mark.xfail(reason=f"ministack: {reason}", raises=unlike, strict=True)
        request.applymarker(mark)
    server: LocalServer = request.getfixturevalue("ministack")
    async with open_codebuild_client(server.endpoint_url) as client:
        yield client


@pytest.fixture
async def project(client: "CodeBuildClient") -> str:
    """Create a project for one test."""
    name = f"shop-{uuid.uuid4()}"
    await client.create_project(**project_named(name))
    return name


def project_named(name: str, **environment: object) -> Any:  # noqa: ANN401 - parameters of CreateProject
    """Return parameters that create a project."""
    return {
        "name": name,
        "source": {"type": "NO_SOURCE", "buildspec": "version: 0.2"},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/standard:7.0",
            "computeType": "BUILD_GENERAL1_SMALL",
            **environment,
        },
        "serviceRole": "arn:aws:iam::123456789012:role/codebuild",
    }


def s3_build(project: str, **changed: object) -> Any:  # noqa: ANN401 - parameters of StartBuild
    """Return parameters that build an archive in S3, with the project's own token."""
    return {
        "projectName": project,
        "sourceTypeOverride": "S3",
        "sourceLocationOverride": "archives/shop/main/1.zip",
        "sourceVersion": "v1",
        "artifactsOverride": {"type": "NO_ARTIFACTS"},
        "environmentVariablesOverride": [{"name": "EVENT_ID", "value": "e1", "type": "PLAINTEXT"}],
        "idempotencyToken": f"token-of-{project}",
        **changed,
    }


class TestStartBuild:
    """Answers and refusals of StartBuild."""

    async def test_returns_an_id_an_arn_and_a_number(
        self, client: "CodeBuildClient", project: str
    ) -> None:
        """The id is project:uuid, the arn ends in it, numbers count from 1 (API, Build)."""
        first = (await client.start_build(projectName=project))["build"]
        second = (await client.start_build(projectName=project))["build"]
        assert [first["buildNumber"], second["buildNumber"]] == [1, 2]
        assert first["id"].startswith(f"{project}:")
        assert first["arn"].endswith(f":build/{first['id']}")

    async def test_builds_what_was_requested(self, client: "CodeBuildClient", project: str) -> None:
        """Overrides of source, version and variables show in the build (API, Build)."""
        told = s3_build(project)
        id_ = (await client.start_build(**told))["build"]["id"]
        build = (await client.batch_get_builds(ids=[id_]))["builds"][0]
        assert build["source"] == {"type": "S3", "location": told["sourceLocationOverride"]}
        assert build["sourceVersion"] == told["sourceVersion"]
        variables = build["environment"]["environmentVariables"]
        assert variables == told["environmentVariablesOverride"]

    async def test_keeps_the_projects_own_variables(self, client: "CodeBuildClient") -> None:
        """An override replaces the variable of its name; others stay (API, StartBuild)."""
        own = [{"name": name, "value": "own", "type": "PLAINTEXT"} for name in ("STAGE", "A")]
        name = f"shop-{uuid.uuid4()}"
        await client.create_project(**project_named(name, environmentVariables=own))
        build = (
            await client.start_build(
                projectName=name, environmentVariablesOverride=[{"name": "A", "value": "new"}]
            )
        )["build"]
        found = {
            each["name"]: each["value"] for each in build["environment"]["environmentVariables"]
        }
        assert found == {"STAGE": "own", "A": "new"}

    async def test_refuses_an_unknown_project(self, client: "CodeBuildClient") -> None:
        """ResourceNotFoundException (API, StartBuild, Errors)."""
        assert await refusal(client.start_build(projectName="no")) == "ResourceNotFoundException"

    @pytest.mark.parametrize(
        "fault",
        [
            {"sourceTypeOverride": "FLOPPY"},
            {"timeoutInMinutesOverride": 2161},
            {"queuedTimeoutInMinutesOverride": 481},
            {"environmentVariablesOverride": [{"name": "A", "value": "b", "type": "SECRET"}]},
            {"environmentVariablesOverride": [{"name": "CODEBUILD_A", "value": "b"}]},
            {"sourceLocationOverride": "bucket-without-key"},
            {"reportBuildStatusOverride": True},
            {"artifactsOverride": {"type": "S3"}},
        ],
        ids=lambda fault: next(iter(fault)),
    )
    async def test_refuses_what_does_not_fit(
        self, client: "CodeBuildClient", project: str, fault: dict[str, Any]
    ) -> None:
        """InvalidInputException for enums, ranges, source and artifact rules (model; API)."""
        code = await refusal(client.start_build(**s3_build(project, **fault)))
        assert code == "InvalidInputException"
        assert (await client.list_builds_for_project(projectName=project))["ids"] == []


class TestToken:
    """The idempotency token (API, StartBuild, idempotencyToken)."""

    async def test_a_repeat_returns_the_same_build(
        self, client: "CodeBuildClient", project: str
    ) -> None:
        """A repeat starts nothing and returns the first build."""
        first = (await client.start_build(**s3_build(project)))["build"]["id"]
        assert first == (await client.start_build(**s3_build(project)))["build"]["id"]
        assert (await client.list_builds_for_project(projectName=project))["ids"] == [first]

    async def test_refuses_other_parameters(self, client: "CodeBuildClient", project: str) -> None:
        """A token with any parameter changed is an error and starts nothing."""
        first = (await client.start_build(**s3_build(project)))["build"]["id"]
        code = await refusal(client.start_build(**s3_build(project, sourceVersion="v2")))
        assert code == "InvalidInputException"
        assert (await client.list_builds_for_project(projectName=project))["ids"] == [first]

    async def test_is_safe_among_concurrent_requests(
        self, client: "CodeBuildClient", project: str
    ) -> None:
        """One of eight equal requests starts the build; all of them get it."""
        ids = set()

        async def start() -> None:
            ids.add((await client.start_build(**s3_build(project)))["build"]["id"])

        async with anyio.create_task_group() as racers:
            for _ in range(8):
                racers.start_soon(start)
        listed = await client.list_builds_for_project(projectName=project)
        assert ids == set(listed["ids"])
        assert len(ids) == 1


class TestBuilds:
    """BatchGetBuilds, ListBuildsForProject, StopBuild."""

    async def test_are_in_progress_at_first(self, client: "CodeBuildClient", project: str) -> None:
        """A build that just started is not complete (API, Build)."""
        build = (await client.start_build(projectName=project))["build"]
        assert build["buildStatus"] == "IN_PROGRESS"
        assert not build["buildComplete"]

    async def test_end_when_stopped(self, client: "CodeBuildClient", project: str) -> None:
        """StopBuild ends a running build as STOPPED (API, StopBuild)."""
        id_ = (await client.start_build(projectName=project))["build"]["id"]
        assert (await client.stop_build(id=id_))["build"]["buildStatus"] == "STOPPED"
        assert await refusal(client.stop_build(id="shop:none")) == "ResourceNotFoundException"

    async def test_are_named_when_missing(self, client: "CodeBuildClient", project: str) -> None:
        """Unknown ids come back in buildsNotFound (API, BatchGetBuilds)."""
        id_ = (await client.start_build(projectName=project))["build"]["id"]
        answer = await client.batch_get_builds(ids=["shop:none", id_])
        assert answer["buildsNotFound"] == ["shop:none"]
        assert [build["id"] for build in answer["builds"]] == [id_]

    async def test_are_read_a_hundred_at_most(self, client: "CodeBuildClient") -> None:
        """More ids are an InvalidInputException (model: BuildIds, 1 to 100)."""
        ids = [f"shop:{number}" for number in range(101)]
        assert await refusal(client.batch_get_builds(ids=ids)) == "InvalidInputException"

    async def test_are_listed_newest_first(self, client: "CodeBuildClient", project: str) -> None:
        """By build number, descending unless named otherwise (API, ListBuildsForProject)."""
        started = [(await client.start_build(projectName=project))["build"]["id"] for _ in range(5)]
        listed = await client.list_builds_for_project(projectName=project)
        assert listed["ids"] == started[::-1]
        ordered = await client.list_builds_for_project(projectName=project, sortOrder="ASCENDING")
        assert ordered["ids"] == started

    async def test_are_listed_a_hundred_a_page(
        self, client: "CodeBuildClient", project: str
    ) -> None:
        """The rest comes with nextToken; naming an order is then an error (API, as above)."""
        started = [
            (await client.start_build(projectName=project))["build"]["id"] for _ in range(101)
        ]
        first = await client.list_builds_for_project(projectName=project)
        assert len(first["ids"]) == 100
        rest = await client.list_builds_for_project(
            projectName=project, nextToken=first["nextToken"]
        )
        assert first["ids"] + rest["ids"] == started[::-1]
        assert "nextToken" not in rest
        call = client.list_builds_for_project(projectName=project, sortOrder="DESCENDING")
        assert await refusal(call) == "InvalidInputException"

    async def test_of_an_unknown_project_are_an_error(self, client: "CodeBuildClient") -> None:
        """ResourceNotFoundException (API, ListBuildsForProject, Errors)."""
        call = client.list_builds_for_project(projectName="none")
        assert await refusal(call) == "ResourceNotFoundException"


class TestProjects:
    """CreateProject, BatchGetProjects."""

    async def test_exist_once_created(self, client: "CodeBuildClient", project: str) -> None:
        """BatchGetProjects returns them, and lists unknown names (API, BatchGetProjects)."""
        answer = await client.batch_get_projects(names=[project, "none"])
        assert [each["name"] for each in answer["projects"]] == [project]
        assert answer["projectsNotFound"] == ["none"]

    async def test_are_created_once(self, client: "CodeBuildClient", project: str) -> None:
        """A name in use is ResourceAlreadyExistsException (API, CreateProject, Errors)."""
        call = client.create_project(**project_named(project))
        assert await refusal(call) == "ResourceAlreadyExistsException"

    async def test_have_a_name_of_letters(self, client: "CodeBuildClient") -> None:
        """A name outside the pattern is an InvalidInputException (model: ProjectName)."""
        call = client.create_project(**project_named("no spaces please"))
        assert await refusal(call) == "InvalidInputException"


async def test_errors_carry_a_request_id(client: "CodeBuildClient") -> None:
    """Every answer names its request, as support asks for it (x-amzn-RequestId)."""
    with pytest.raises(ClientError) as caught:
        await client.start_build(projectName="none")
    assert len(caught.value.response["ResponseMetadata"]["RequestId"]) == 36
