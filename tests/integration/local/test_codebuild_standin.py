"""The stand-in for CodeBuild with a manual clock or a limit, and its own promises.

What it shares with every CodeBuild is in `tests/contract/test_codebuild.py`. Sources: API = AWS
CodeBuild API Reference.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from support.codebuild import Clock, open_codebuild_client, refusal

from asyncbuild.local.servers import journal
from asyncbuild.local.servers.aws_json import AwsError
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin

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
    """Clock of the stand-in."""
    return Clock()


@pytest.fixture
async def standin(clock: Clock) -> AsyncIterator[CodeBuildStandin]:
    """A stand-in with one project."""
    async with open_codebuild_standin(["shop"], clock=clock) as standin:
        yield standin


@pytest.fixture
async def client(standin: CodeBuildStandin) -> AsyncIterator["CodeBuildClient"]:
    """Open a client of the stand-in."""
    async with open_codebuild_client(standin.endpoint_url) as client:
        yield client


async def test_keeps_the_request_verbatim(
    client: "CodeBuildClient", standin: CodeBuildStandin
) -> None:
    """The stand-in's own promise: requests are kept unchanged."""
    await client.start_build(**S3_BUILD)
    assert [started.request for started in standin.started] == [S3_BUILD]


async def test_has_a_limit_of_running_builds(
    client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
) -> None:
    """AccountLimitExceededException above it, room again when one is done (API, Errors)."""
    standin.running_limit = 1
    standin.script = Script(queued_seconds=1, build_seconds=9)
    await client.start_build(projectName="shop")
    code = await refusal(client.start_build(projectName="shop"))
    assert code == "AccountLimitExceededException"
    clock.advance(10)
    assert (await client.start_build(projectName="shop"))["build"]["buildNumber"] == 2


async def test_a_token_is_forgotten_after_five_minutes(
    client: "CodeBuildClient", clock: Clock
) -> None:
    """Then the same request is a new build: the reason for find_recent."""
    first = (await client.start_build(**S3_BUILD))["build"]["id"]
    clock.advance(300)
    assert first != (await client.start_build(**S3_BUILD))["build"]["id"]


async def test_a_token_of_a_refused_request_is_free(
    client: "CodeBuildClient", standin: CodeBuildStandin
) -> None:
    """A refusal is not remembered: the same token may be used again."""
    standin.running_limit = 0
    await refusal(client.start_build(**S3_BUILD))
    standin.running_limit = None
    changed = {**S3_BUILD, "sourceVersion": "v2"}
    assert (await client.start_build(**changed))["build"]["buildNumber"] == 1


async def test_a_build_goes_from_queue_to_end(client: "CodeBuildClient", clock: Clock) -> None:
    """SUBMITTED, QUEUED, at work, COMPLETED; IN_PROGRESS until then (API, Build)."""
    id_ = (await client.start_build(projectName="shop"))["build"]["id"]
    seen = []
    for seconds in (0, 0.3, 0.7, 3):
        clock.advance(seconds)
        build = (await client.batch_get_builds(ids=[id_]))["builds"][0]
        seen.append((build["currentPhase"], build["buildStatus"], build["buildComplete"]))
    assert seen == [
        ("SUBMITTED", "IN_PROGRESS", False),
        ("QUEUED", "IN_PROGRESS", False),
        ("BUILD", "IN_PROGRESS", False),
        ("COMPLETED", "SUCCEEDED", True),
    ]


async def test_calls_fail_as_scripted(client: "CodeBuildClient", standin: CodeBuildStandin) -> None:
    """The stand-in's own promise: the next calls fail as scripted, later ones do not."""
    standin.fail_next("StartBuild", AwsError("ThrottlingException", "Rate exceeded"), times=2)
    assert await refusal(client.start_build(projectName="shop")) == "ThrottlingException"
    assert await refusal(client.start_build(projectName="shop")) == "ThrottlingException"
    assert (await client.start_build(projectName="shop"))["build"]["buildNumber"] == 1


class TestJournal:
    """Promises of the stand-in about its journal."""

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

    async def test_loses_only_a_truncated_line(self, tmp_path: Path, clock: Clock) -> None:
        """A line that was never answered is removed; the next one begins on a new line."""
        path = tmp_path / "journal"
        async with open_codebuild_standin(["shop"], journal=path, clock=clock) as standin:
            await standin.answer("StartBuild", {"projectName": "shop"})
        append(path, b'{"time": 1, "bui')
        async with open_codebuild_standin(["shop"], journal=path, clock=clock) as standin:
            await standin.answer("StartBuild", {"projectName": "shop"})
        assert [started.number for started in journal.read(path)] == [1, 2]

    async def test_is_kept_by_a_process_of_its_own(self, tmp_path: Path) -> None:
        """The program prints its address, and ends on SIGTERM with 0."""
        path = tmp_path / "journal"
        options = ["--project", "shop", "--project", "till", "--journal", str(path)]
        command = [sys.executable, "-m", "asyncbuild.local.servers.codebuild_server", *options]
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
