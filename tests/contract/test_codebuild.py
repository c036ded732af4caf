"""What asyncbuild relies on in CodeBuild, rule by rule, through the client the service uses.

Runs on the stand-in. Sources: API = AWS CodeBuild API Reference; model = botocore's service model.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from botocore.exceptions import ClientError
from support.codebuild import Clock, open_codebuild_client

from asyncbuild.local import journal
from asyncbuild.local.aws_json import AwsError
from asyncbuild.local.codebuild import open_codebuild_standin
from asyncbuild.local.standin import CodeBuildStandin, Script

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient

S3_BUILD: dict[str, Any] = {
    "projectName": "shop",
    "sourceTypeOverride": "S3",
    "sourceLocationOverride": "archives/shop/main/1.zip",
    "sourceVersion": "v1",
    "artifactsOverride": {"type": "NO_ARTIFACTS"},
    "environmentVariablesOverride": [{"name": "EVENT_ID", "value": "e1", "type": "PLAINTEXT"}],
    "idempotencyToken": "t1",
}


@pytest.fixture
def clock() -> Clock:
    """The stand-in's clock."""
    return Clock()


@pytest.fixture
async def standin(clock: Clock) -> AsyncIterator[CodeBuildStandin]:
    """A stand-in with one project."""
    async with open_codebuild_standin(["shop"], clock=clock) as standin:
        yield standin


@pytest.fixture
async def client(standin: CodeBuildStandin) -> AsyncIterator["CodeBuildClient"]:
    """A client of the stand-in."""
    async with open_codebuild_client(standin.endpoint_url) as client:
        yield client


async def refusal(call: Any) -> str:  # noqa: ANN401 - any operation's coroutine
    """The error code that `call` is refused with; HTTP 400, as all of CodeBuild's own errors."""
    with pytest.raises(ClientError) as caught:
        await call
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"]


class TestStartBuild:
    """StartBuild: what it answers, what it refuses."""

    async def test_gives_an_id_an_arn_and_a_number(self, client: "CodeBuildClient") -> None:
        """The id is project:uuid, the arn ends in it, numbers count from 1 (API, Build)."""
        first = (await client.start_build(projectName="shop"))["build"]
        second = (await client.start_build(projectName="shop"))["build"]
        assert [first["buildNumber"], second["buildNumber"]] == [1, 2]
        assert first["id"].startswith("shop:")
        assert first["arn"].endswith(f":build/{first['id']}")

    async def test_builds_what_it_was_told(self, client: "CodeBuildClient") -> None:
        """Overrides of source, version and variables show in the build (API, Build)."""
        id_ = (await client.start_build(**S3_BUILD))["build"]["id"]
        build = (await client.batch_get_builds(ids=[id_]))["builds"][0]
        assert build["source"] == {"type": "S3", "location": "archives/shop/main/1.zip"}
        assert build["sourceVersion"] == "v1"
        assert (
            S3_BUILD["environmentVariablesOverride"]
            == (build["environment"]["environmentVariables"])
        )

    async def test_keeps_the_request_verbatim(
        self, client: "CodeBuildClient", standin: CodeBuildStandin
    ) -> None:
        """The stand-in's own promise: what was asked is kept as it was asked."""
        await client.start_build(**S3_BUILD)
        assert [started.request for started in standin.started] == [S3_BUILD]

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
        self, client: "CodeBuildClient", standin: CodeBuildStandin, fault: dict[str, Any]
    ) -> None:
        """InvalidInputException for enums, ranges, source and artifact rules (model; API)."""
        code = await refusal(client.start_build(**{**S3_BUILD, **fault}))
        assert code == "InvalidInputException"
        assert standin.started == []

    async def test_has_a_limit_of_running_builds(
        self, client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
    ) -> None:
        """AccountLimitExceededException above it, room again when one is done (API, Errors)."""
        standin.running_limit = 1
        standin.script = Script(queued_seconds=1, build_seconds=9)
        await client.start_build(projectName="shop")
        code = await refusal(client.start_build(projectName="shop"))
        assert code == "AccountLimitExceededException"
        clock.advance(10)
        assert (await client.start_build(projectName="shop"))["build"]["buildNumber"] == 2


class TestToken:
    """The idempotency token (API, StartBuild, idempotencyToken)."""

    async def test_gives_the_same_build_again(
        self, client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
    ) -> None:
        """A repeat within five minutes starts nothing, not even at the limit."""
        first = (await client.start_build(**S3_BUILD))["build"]["id"]
        standin.running_limit = 0
        clock.advance(299)
        assert first == (await client.start_build(**S3_BUILD))["build"]["id"]
        assert len(standin.started) == 1

    async def test_refuses_other_parameters(
        self, client: "CodeBuildClient", standin: CodeBuildStandin
    ) -> None:
        """The same token with any parameter changed is an error and starts nothing."""
        await client.start_build(**S3_BUILD)
        code = await refusal(client.start_build(**{**S3_BUILD, "sourceVersion": "v2"}))
        assert code == "InvalidInputException"
        assert len(standin.started) == 1

    async def test_is_forgotten_after_five_minutes(
        self, client: "CodeBuildClient", clock: Clock
    ) -> None:
        """Then the same request is a new build: the reason for find_recent."""
        first = (await client.start_build(**S3_BUILD))["build"]["id"]
        clock.advance(300)
        assert first != (await client.start_build(**S3_BUILD))["build"]["id"]

    async def test_of_a_refused_request_is_free(
        self, client: "CodeBuildClient", standin: CodeBuildStandin
    ) -> None:
        """What started nothing is not remembered: the same token may be used again."""
        standin.running_limit = 0
        await refusal(client.start_build(**S3_BUILD))
        standin.running_limit = None
        changed = {**S3_BUILD, "sourceVersion": "v2"}
        assert (await client.start_build(**changed))["build"]["buildNumber"] == 1

    async def test_is_safe_among_racers(
        self, client: "CodeBuildClient", standin: CodeBuildStandin
    ) -> None:
        """Of sixteen equal requests at once one starts the build and all get it."""
        ids = set()

        async def start() -> None:
            ids.add((await client.start_build(**S3_BUILD))["build"]["id"])

        async with anyio.create_task_group() as racers:
            for _ in range(16):
                racers.start_soon(start)
        assert 1 == len(ids) == len(standin.started)


class TestBuilds:
    """BatchGetBuilds, ListBuildsForProject, StopBuild."""

    async def test_go_from_queue_to_end(self, client: "CodeBuildClient", clock: Clock) -> None:
        """SUBMITTED, QUEUED, at work, COMPLETED; IN_PROGRESS until then (API, Build)."""
        id_ = (await client.start_build(projectName="shop"))["build"]["id"]
        seen = []
        for seconds in (0, 0.3, 0.3, 3):
            clock.advance(seconds)
            build = (await client.batch_get_builds(ids=[id_]))["builds"][0]
            seen.append((build["currentPhase"], build["buildStatus"], build["buildComplete"]))
        assert seen == [
            ("SUBMITTED", "IN_PROGRESS", False),
            ("QUEUED", "IN_PROGRESS", False),
            ("BUILD", "IN_PROGRESS", False),
            ("COMPLETED", "SUCCEEDED", True),
        ]

    async def test_end_when_stopped(self, client: "CodeBuildClient") -> None:
        """StopBuild ends a running build as STOPPED (API, StopBuild)."""
        id_ = (await client.start_build(projectName="shop"))["build"]["id"]
        assert (await client.stop_build(id=id_))["build"]["buildStatus"] == "STOPPED"
        assert await refusal(client.stop_build(id="shop:none")) == "ResourceNotFoundException"

    async def test_are_named_when_missing(self, client: "CodeBuildClient") -> None:
        """Unknown ids come back in buildsNotFound (API, BatchGetBuilds)."""
        id_ = (await client.start_build(projectName="shop"))["build"]["id"]
        answer = await client.batch_get_builds(ids=["shop:none", id_])
        assert answer["buildsNotFound"] == ["shop:none"]
        assert [id_] == [build["id"] for build in answer["builds"]]

    async def test_are_got_a_hundred_at_most(self, client: "CodeBuildClient") -> None:
        """More ids are an InvalidInputException (model: BuildIds, 1 to 100)."""
        ids = [f"shop:{number}" for number in range(101)]
        assert await refusal(client.batch_get_builds(ids=ids)) == "InvalidInputException"

    async def test_are_listed_newest_first_a_hundred_a_page(
        self, client: "CodeBuildClient"
    ) -> None:
        """By build number, descending unless named otherwise (API, ListBuildsForProject)."""
        started = [
            (await client.start_build(projectName="shop"))["build"]["id"] for _ in range(100)
        ]
        ordered = await client.list_builds_for_project(projectName="shop", sortOrder="ASCENDING")
        assert started == ordered["ids"]
        started.append((await client.start_build(projectName="shop"))["build"]["id"])
        first = await client.list_builds_for_project(projectName="shop")
        rest = await client.list_builds_for_project(
            projectName="shop", nextToken=first["nextToken"]
        )
        assert started[::-1] == first["ids"] + rest["ids"]
        assert "nextToken" not in rest

    async def test_are_not_sorted_above_a_hundred(
        self, client: "CodeBuildClient", standin: CodeBuildStandin
    ) -> None:
        """Naming a sort order is then an error (API, ListBuildsForProject, sortOrder)."""
        for _ in range(101):
            await standin.answer("StartBuild", {"projectName": "shop"})
        call = client.list_builds_for_project(projectName="shop", sortOrder="DESCENDING")
        assert await refusal(call) == "InvalidInputException"

    async def test_of_an_unknown_project_are_an_error(self, client: "CodeBuildClient") -> None:
        """ResourceNotFoundException (API, ListBuildsForProject, Errors)."""
        call = client.list_builds_for_project(projectName="none")
        assert await refusal(call) == "ResourceNotFoundException"


async def test_projects_are_made_once(client: "CodeBuildClient") -> None:
    """CreateProject shows in BatchGetProjects; twice is ResourceAlreadyExistsException (API)."""
    project: Any = {
        "name": "till",
        "source": {"type": "NO_SOURCE", "buildspec": "version: 0.2"},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/standard:7.0",
            "computeType": "BUILD_GENERAL1_SMALL",
            "environmentVariables": [{"name": "STAGE", "value": "test", "type": "PLAINTEXT"}],
        },
        "serviceRole": "arn:aws:iam::123456789012:role/codebuild",
    }
    made = (await client.create_project(**project))["project"]
    answer = await client.batch_get_projects(names=["till", "none"])
    assert [made] == answer["projects"]
    assert answer["projectsNotFound"] == ["none"]
    assert await refusal(client.create_project(**project)) == "ResourceAlreadyExistsException"
    invalid = {**project, "name": "no spaces please"}
    assert await refusal(client.create_project(**invalid)) == "InvalidInputException"
    build = (await client.start_build(projectName="till"))["build"]
    assert build["environment"]["environmentVariables"][0]["name"] == "STAGE"


async def test_errors_carry_a_request_id(client: "CodeBuildClient") -> None:
    """Every answer names its request, as support asks for it (x-amzn-RequestId)."""
    with pytest.raises(ClientError) as caught:
        await client.start_build(projectName="none")
    assert len(caught.value.response["ResponseMetadata"]["RequestId"]) == 36


async def test_calls_fail_as_scripted(client: "CodeBuildClient", standin: CodeBuildStandin) -> None:
    """The stand-in's own promise: coming calls fail as told, later ones do not."""
    standin.fail_next("StartBuild", AwsError("ThrottlingException", "Rate exceeded"), times=2)
    assert await refusal(client.start_build(projectName="shop")) == "ThrottlingException"
    assert await refusal(client.start_build(projectName="shop")) == "ThrottlingException"
    assert (await client.start_build(projectName="shop"))["build"]["buildNumber"] == 1


class TestJournal:
    """The stand-in's own promises about its journal."""

    async def test_remembers_builds_and_tokens(self, tmp_path: Path, clock: Clock) -> None:
        """A stand-in opened again knows builds and tokens, and counts on."""
        path = tmp_path / "journal"
        ids = []
        for _ in range(2):
            async with (
                open_codebuild_standin(["shop"], journal=path, clock=clock) as standin,
                open_codebuild_client(standin.endpoint_url) as client,
            ):
                ids.append((await client.start_build(**S3_BUILD))["build"]["id"])
                ids.append((await client.start_build(projectName="shop"))["build"]["id"])
        assert ids[0] == ids[2]
        assert ids[1] != ids[3]
        written = journal.read(path)
        assert [ids[0], ids[1], ids[3]] == [started.build for started in written]
        assert [started.number for started in written] == [1, 2, 3]
        assert written[0].request == S3_BUILD

    async def test_loses_only_a_line_cut_short(self, tmp_path: Path, clock: Clock) -> None:
        """What was never answered is cut off; the next line begins on a line of its own."""
        path = tmp_path / "journal"
        async with open_codebuild_standin(["shop"], journal=path, clock=clock) as standin:
            await standin.answer("StartBuild", {"projectName": "shop"})
        append(path, b'{"time": 1, "bui')
        async with open_codebuild_standin(["shop"], journal=path, clock=clock) as standin:
            await standin.answer("StartBuild", {"projectName": "shop"})
        assert [started.number for started in journal.read(path)] == [1, 2]

    async def test_is_kept_by_a_process_of_its_own(self, tmp_path: Path) -> None:
        """`python -m asyncbuild.local.codebuild` says where it is, and ends on SIGTERM with 0."""
        path = tmp_path / "journal"
        options = ["--project", "shop", "--project", "till", "--journal", str(path)]
        command = [sys.executable, "-m", "asyncbuild.local.codebuild", *options]
        async with await anyio.open_process(command, stderr=None) as process:
            assert process.stdout is not None
            endpoint_url = (await process.stdout.receive()).decode().strip()
            async with open_codebuild_client(endpoint_url) as client:
                build = (await client.start_build(projectName="till"))["build"]
            process.terminate()
            assert await process.wait() == 0
        assert [build["id"]] == [started.build for started in journal.read(path)]


def append(path: Path, content: bytes) -> None:
    """Write `content` at the end of the file."""
    with path.open("ab") as file:
        file.write(content)
