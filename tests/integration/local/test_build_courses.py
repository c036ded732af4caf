"""Builds of the stand-in that go through phases, fail, are tried again, and belong to others.

Sources: API = AWS CodeBuild API Reference; guide = its user guide; model = botocore's service
model.
"""

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from support.codebuild import Clock, open_codebuild_client

from asyncbuild.local.servers.aws_json import iter_faults, service_model
from asyncbuild.local.servers.build_events import build_event
from asyncbuild.local.servers.build_script import Script, SeededScripts
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin
from asyncbuild.local.servers.stored_build import batch_document

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient
    from types_aiobotocore_codebuild.type_defs import BuildTypeDef

S3_BUILD: dict[str, Any] = {
    "projectName": "shop",
    "sourceTypeOverride": "S3",
    "sourceLocationOverride": "archives/shop/main/1.zip",
    "environmentVariablesOverride": [{"name": "EVENT_ID", "value": "e1", "type": "PLAINTEXT"}],
    "idempotencyToken": "t1",
}
NO_BUILDSPEC = Script(status="FAILED", phase="DOWNLOAD_SOURCE")
ENDS = [
    Script(),
    Script(status="FAILED", exit_code=3),
    Script(status="FAILED", phase="INSTALL"),
    NO_BUILDSPEC,
    Script(status="FAILED", phase="PROVISIONING"),
    Script(status="FAULT"),
    Script(status="TIMED_OUT"),
    Script(status="TIMED_OUT", phase="QUEUED"),
    Script(status="STOPPED"),
]


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


async def ended(
    client: "CodeBuildClient", clock: Clock, **request: object
) -> tuple[str, "BuildTypeDef"]:
    """Start a build, let it end, and return its id and its document."""
    parameters: Any = {**S3_BUILD, **request}
    id_ = (await client.start_build(**parameters))["build"]["id"]
    clock.advance(100)
    return id_, (await client.batch_get_builds(ids=[id_]))["builds"][0]


def phases_of(build: "BuildTypeDef") -> dict[str, str]:
    """Return the status of each phase, by its name; empty if it has none."""
    return {each["phaseType"]: each.get("phaseStatus", "") for each in build["phases"]}


async def test_a_build_goes_through_all_phases(
    client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
) -> None:
    """In their order, each with its times; the last is COMPLETED (API, BuildPhase)."""
    standin.script = Script(queued_seconds=4, provisioning_seconds=6, build_seconds=20)
    _, build = await ended(client, clock)
    assert list(phases_of(build)) == [
        "SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE", "INSTALL", "PRE_BUILD", "BUILD",
        "POST_BUILD", "UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED",
    ]  # fmt: skip
    *done, completed = build["phases"]
    assert [each["durationInSeconds"] for each in done] == [2, 2, 6, 2, 1, 1, 12, 2, 1, 1]
    assert all(each["endTime"] == after["startTime"] for each, after in pairwise(done))
    assert "phaseStatus" not in completed
    assert (build["endTime"] - build["startTime"]).total_seconds() == 30


async def test_a_running_phase_has_no_end(
    client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
) -> None:
    """The current phase is the last one, without status; the log is there once it provisions."""
    standin.script = Script(queued_seconds=4, provisioning_seconds=6, build_seconds=20)
    id_ = (await client.start_build(**S3_BUILD))["build"]["id"]
    seen = []
    for seconds in (3, 3, 10):
        clock.advance(seconds)
        build = (await client.batch_get_builds(ids=[id_]))["builds"][0]
        assert build["phases"][-1]["phaseType"] == build["currentPhase"]
        assert "phaseStatus" not in build["phases"][-1]
        seen.append((build["currentPhase"], "deepLink" in build["logs"]))
    assert seen == [("QUEUED", False), ("PROVISIONING", True), ("BUILD", True)]


@pytest.mark.parametrize(
    ("script", "phase", "code", "later"),
    [
        (Script(status="FAILED"), "BUILD", "COMMAND_EXECUTION_ERROR", "POST_BUILD"),
        (Script(status="FAILED", phase="INSTALL"), "INSTALL", "COMMAND_EXECUTION_ERROR", ""),
        (
            NO_BUILDSPEC,
            "DOWNLOAD_SOURCE",
            "YAML_FILE_ERROR",
            "",
        ),
        (Script(status="TIMED_OUT"), "BUILD", "BUILD_TIMED_OUT", ""),
        (Script(status="FAULT"), "PROVISIONING", "INTERNAL_SERVICE_ERROR", ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_failed_phase_says_why(
    client: "CodeBuildClient",
    standin: CodeBuildStandin,
    clock: Clock,
    script: Script,
    phase: str,
    code: str,
    later: str,
) -> None:
    """Status and context are the phase's; POST_BUILD runs after BUILD alone (guide)."""
    standin.script = script
    _, build = await ended(client, clock)
    phases = phases_of(build)
    assert build["buildStatus"] == script.status
    assert phases[phase] == script.status
    assert [name for name, status in phases.items() if status == script.status] == [phase]
    assert ("POST_BUILD" in phases) == (later == "POST_BUILD")
    bad = next(each for each in build["phases"] if each["phaseType"] == phase)
    assert [each["statusCode"] for each in bad["contexts"]] == [code]


async def test_an_exit_code_is_in_the_message(
    client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
) -> None:
    """In CodeBuild's words (guide, "Troubleshooting")."""
    standin.script = Script(status="FAILED", exit_code=101)
    _, build = await ended(client, clock)
    messages = [
        context["message"] for each in build["phases"] for context in each.get("contexts", [])
    ]
    assert "Error while executing command: make test. Reason: exit status 101" in messages


async def test_a_stopped_build_stops_in_its_phase(
    client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
) -> None:
    """The phase is STOPPED, and no later one begins but COMPLETED."""
    standin.script = Script(queued_seconds=0, build_seconds=10)
    id_ = (await client.start_build(**S3_BUILD))["build"]["id"]
    clock.advance(5)
    await client.stop_build(id=id_)
    clock.advance(50)
    build = (await client.batch_get_builds(ids=[id_]))["builds"][0]
    assert list(phases_of(build).items())[-2:] == [("BUILD", "STOPPED"), ("COMPLETED", "")]
    assert (build["endTime"] - build["startTime"]).total_seconds() == 5


@pytest.mark.parametrize("script", ENDS, ids=lambda each: f"{each.status} {each.phase}".strip())
async def test_answers_fit_the_service_model(
    standin: CodeBuildStandin, clock: Clock, script: Script
) -> None:
    """At any moment: a client drops members that the model does not know without a word (model)."""
    standin.script = script
    shape = service_model("codebuild").shape_for("Build")
    request = {**S3_BUILD, "autoRetryLimitOverride": 1}
    id_ = (await standin.answer("StartBuild", request))["build"]["id"]
    statuses = []
    for _ in range(20):
        (build,) = (await standin.answer("BatchGetBuilds", {"ids": [id_]}))["builds"]
        assert list(iter_faults(shape, build, "")) == []
        statuses.append(build["buildStatus"])
        clock.advance(0.2)
    assert [statuses[0], statuses[-1]] == ["IN_PROGRESS", script.status]


async def test_batches_are_those_that_were_put(
    client: "CodeBuildClient", standin: CodeBuildStandin
) -> None:
    """Each fits the model; an unknown one is named (API, BatchGetBuildBatches)."""
    shape = service_model("codebuild").shape_for("BuildBatch")
    for status in ("IN_PROGRESS", "FAILED"):
        batch = batch_document(f"shop:{status}", status, begun=1, until=2)
        assert list(iter_faults(shape, batch, "")) == []
        standin.batches[batch["id"]] = batch
    answer = await client.batch_get_build_batches(ids=["shop:FAILED", "shop:none"])
    assert [each["buildBatchStatus"] for each in answer["buildBatches"]] == ["FAILED"]
    assert answer["buildBatchesNotFound"] == ["shop:none"]


class TestRetries:
    """Automatic retries (API, AutoRetryConfig)."""

    async def test_form_a_chain(
        self, client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
    ) -> None:
        """A failed build names the next one, which has our variables and the next number."""
        standin.script = Script(status="FAILED")
        id_, first = await ended(client, clock, autoRetryLimitOverride=2)
        chain = [first]
        while following := chain[-1]["autoRetryConfig"].get("nextAutoRetry"):
            next_id = following.partition(":build/")[2]
            chain.append((await client.batch_get_builds(ids=[next_id]))["builds"][0])
        assert [each["autoRetryConfig"]["autoRetryNumber"] for each in chain] == [0, 1, 2]
        assert [each["buildNumber"] for each in chain] == [1, 2, 3]
        assert [each["autoRetryConfig"].get("previousAutoRetry") for each in chain] == [
            None, first["arn"], chain[1]["arn"],
        ]  # fmt: skip
        assert all(
            each["environment"]["environmentVariables"] == S3_BUILD["environmentVariablesOverride"]
            for each in chain
        )
        assert [started.build for started in standin.started] == [id_]  # one request was accepted
        assert standin.build(id_).newest().id == chain[-1]["id"]

    async def test_end_with_the_first_success(
        self, client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
    ) -> None:
        """Only a FAILED build is tried again."""
        standin.script = Script(status="SUCCEEDED")
        _, build = await ended(client, clock, autoRetryLimitOverride=2)
        assert "nextAutoRetry" not in build["autoRetryConfig"]
        assert len((await client.list_builds_for_project(projectName="shop"))["ids"]) == 1

    async def test_may_come_a_moment_later(
        self, client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
    ) -> None:
        """Then a FAILED build is seen that names no next one yet."""
        standin.script, standin.retry_seconds = Script(status="FAILED", queued_seconds=0), 5
        id_ = (await client.start_build(**S3_BUILD, autoRetryLimitOverride=1))["build"]["id"]
        seen = []
        for seconds in (2, 5, 2):
            clock.advance(seconds)
            build = (await client.batch_get_builds(ids=[id_]))["builds"][0]
            named = "nextAutoRetry" in build["autoRetryConfig"]
            seen.append((build["buildStatus"], named, standin.is_at_rest()))
        assert seen == [("FAILED", False, False), ("FAILED", True, False), ("FAILED", True, True)]

    async def test_are_found_again_by_a_journal(
        self, standin: CodeBuildStandin, clock: Clock
    ) -> None:
        """A stand-in that is opened again has attempts with the same ids."""
        standin.script = Script(status="FAILED")
        await standin.answer("StartBuild", {**S3_BUILD, "autoRetryLimitOverride": 1})
        other = CodeBuildStandin(clock=clock, script=standin.script)
        other.remember(standin.started[0])
        clock.advance(100)
        for each in (standin, other):
            each.settle()
        id_ = standin.started[0].build
        assert standin.build(id_).newest().id == other.build(id_).newest().id != id_


class TestForeignBuilds:
    """Builds that others start."""

    async def test_carry_everything_of_ours(
        self, client: "CodeBuildClient", standin: CodeBuildStandin, clock: Clock
    ) -> None:
        """Source and variables are equal; id, number and initiator are not, and it is not ours."""
        standin.foreign_share = 1.0
        id_, ours = await ended(client, clock)
        (foreign,) = standin.foreign
        (theirs,) = (await client.batch_get_builds(ids=[foreign.id]))["builds"]
        for same in ("source", "environment", "projectName"):
            assert theirs[same] == ours[same]
        for other in ("id", "buildNumber", "initiator"):
            assert theirs[other] != ours[other]
        assert [started.build for started in standin.started] == [id_]


class TestSeededScripts:
    """Courses drawn from a seed."""

    def test_follow_from_seed_and_key(self) -> None:
        """Equal ones give equal scripts, other seeds others."""
        keys = [str(number) for number in range(50)]
        drawn = [[SeededScripts(seed).draw(key) for key in keys] for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_have_their_shares(self) -> None:
        """A thousand builds: about as many end in each way as the shares say."""
        scripts = SeededScripts(failed=0.2, fault=0.1, timed_out=0.1, stopped=0.1)
        drawn = [scripts.draw(str(number)).status for number in range(1000)]
        assert 150 < drawn.count("FAILED") < 250
        for status in ("FAULT", "TIMED_OUT", "STOPPED"):
            assert 60 < drawn.count(status) < 140


# The documented event (guide, "Build notifications input format reference"), its members alone.
DOCUMENTED = {
    "": {
        "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"
    },
    "detail": {
        "build-status", "project-name", "build-id", "additional-information", "current-phase",
        "current-phase-context", "version",
    },
    "additional-information": {
        "artifact", "environment", "timeout-in-minutes", "build-complete", "initiator",
        "build-start-time", "source", "logs", "phases",
    },
    "environment": {
        "image", "privileged-mode", "compute-type", "type", "environment-variables",
    },
    "logs": {"group-name", "stream-name", "deep-link"},
    "phase": {
        "phase-context", "start-time", "end-time", "duration-in-seconds", "phase-type",
        "phase-status",
    },
}  # fmt: skip


async def test_events_have_the_documented_shape(standin: CodeBuildStandin, clock: Clock) -> None:
    """All documented members are there; times and contexts are texts."""
    standin.script = Script(status="FAILED", exit_code=2)
    await standin.answer("StartBuild", S3_BUILD)
    build = standin.build(standin.started[0].build)
    event = build_event(build.seen_at(clock.now + 100))
    detail = event["detail"]
    more = detail["additional-information"]
    assert set(event) == DOCUMENTED[""]
    assert set(detail) == DOCUMENTED["detail"]
    assert set(more) >= DOCUMENTED["additional-information"]
    assert set(more["environment"]) >= DOCUMENTED["environment"]
    assert set(more["logs"]) == DOCUMENTED["logs"]
    assert all(set(phase) == DOCUMENTED["phase"] for phase in more["phases"][:-1])
    assert detail["build-id"] == build.arn
    assert detail["build-status"] == "FAILED"
    assert more["source"] == {"type": "S3", "location": "archives/shop/main/1.zip"}
    assert more["build-start-time"] == "Jan 15, 2027 8:00:00 AM"
    failed = next(each for each in more["phases"] if each.get("phase-status") == "FAILED")
    assert failed["phase-context"] == [
        "COMMAND_EXECUTION_ERROR: Error while executing command: make test. Reason: exit status 2"
    ]
