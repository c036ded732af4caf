"""Rules of CodePipeline that asyncbuild relies on, each tested through the service's client.

Runs on the stand-in; no emulator on offer starts pipelines: ministack 1.5.33 has no CodePipeline,
moto 5.2.5 has CreatePipeline and GetPipeline, and no executions. So the stand-in is held to the
service model, in what it takes and in what it gives. Sources: API = AWS CodePipeline API Reference;
model = botocore's service model; guide = CodePipeline User Guide.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from support.codebuild import Clock
from support.codepipeline import open_codepipeline_client
from support.codepipeline_server import (
    CodePipelineStandin,
    open_codepipeline_standin,
    pipeline_of,
)
from support.pipeline_course import PipelineEnd

from asyncbuild.local.servers.aws_json import AwsError, iter_faults, service_model

if TYPE_CHECKING:
    from types_aiobotocore_codepipeline import CodePipelineClient


@pytest.fixture
def clock() -> Clock:
    """Clock of the stand-in."""
    return Clock()


@pytest.fixture
async def standin(clock: Clock) -> AsyncIterator[CodePipelineStandin]:
    """A stand-in without pipelines."""
    async with open_codepipeline_standin(clock=clock) as standin:
        yield standin


@pytest.fixture
async def client(standin: CodePipelineStandin) -> AsyncIterator["CodePipelineClient"]:
    """Open a client with a pipeline `deploy`, which declares EVENT_ID."""
    async with open_codepipeline_client(standin.endpoint_url) as client:
        await client.create_pipeline(pipeline=pipeline_of("deploy", variables=("EVENT_ID",)))
        yield client


def start(**changed: object) -> Any:  # noqa: ANN401 - parameters of StartPipelineExecution
    """Return parameters that run one version of one object."""
    return {
        "name": "deploy",
        "sourceRevisions": [
            {"actionName": "Archive", "revisionType": "S3_OBJECT_KEY", "revisionValue": "a/b.zip"},
            {"actionName": "Archive", "revisionType": "S3_OBJECT_VERSION_ID", "revisionValue": "1"},
        ],
        "variables": [{"name": "EVENT_ID", "value": "e1"}],
        "clientRequestToken": "token-1",
        **changed,
    }


async def refusal(call: Any) -> str:  # noqa: ANN401 - any operation's coroutine
    """Return the error code that `call` is refused with."""
    with pytest.raises(ClientError) as caught:
        await call
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return str(caught.value.response["Error"]["Code"])


async def test_a_pipeline_is_returned_as_declared(client: "CodePipelineClient") -> None:
    """Stages, configuration and variables are unchanged, with the ARN (API, GetPipeline)."""
    answer = await client.get_pipeline(name="deploy")
    made = pipeline_of("deploy", variables=("EVENT_ID",))
    assert made["stages"] == [
        {"name": stage["name"], "actions": stage["actions"]}
        for stage in answer["pipeline"]["stages"]
    ]
    assert made["variables"] == answer["pipeline"].get("variables")
    arn = answer["metadata"].get("pipelineArn")
    assert arn == "arn:aws:codepipeline:eu-west-1:123456789012:deploy"


async def test_an_unknown_pipeline_is_an_error(client: "CodePipelineClient") -> None:
    """PipelineNotFoundException, for every call that names it (API, Errors)."""
    for call in (
        client.get_pipeline(name="no"),
        client.start_pipeline_execution(**start(name="no")),
        client.list_pipeline_executions(pipelineName="no"),
    ):
        assert await refusal(call) == "PipelineNotFoundException"


@pytest.mark.parametrize(
    "fault",
    [
        {"clientRequestToken": "with_underscore"},
        {"clientRequestToken": "x" * 129},
        {"variables": []},
        {"variables": [{"name": "EVENT_ID", "value": ""}]},
        {"variables": [{"name": "EVENT_ID", "value": "x" * 1001}]},
        {"variables": [{"name": "NOT_DECLARED", "value": "x"}]},
        {"sourceRevisions": [{"actionName": "Deploy", "revisionType": "S3_OBJECT_KEY"}]},
        {
            "sourceRevisions": [
                {"actionName": "Deploy", "revisionType": "S3_OBJECT_KEY", "revisionValue": "k"}
            ]
        },
        {
            "sourceRevisions": [
                {"actionName": "Archive", "revisionType": "S3_KEY", "revisionValue": "k"}
            ]
        },
    ],
    ids=str,
)
async def test_an_invalid_request_is_refused(
    standin: CodePipelineStandin, client: "CodePipelineClient", fault: dict[str, Any]
) -> None:
    """Lengths, patterns, enums, undeclared variables; nothing is started (model; guide)."""
    code = await refusal(client.start_pipeline_execution(**start(**fault)))
    assert code == "ValidationException"
    assert standin.started == []


async def test_another_key_needs_permission(
    standin: CodePipelineStandin, client: "CodePipelineClient"
) -> None:
    """S3_OBJECT_KEY is refused unless AllowOverrideForS3ObjectKey is true (guide)."""
    closed = pipeline_of("closed")
    del closed["stages"][0]["actions"][0]["configuration"]["AllowOverrideForS3ObjectKey"]
    standin.put_pipeline(closed)
    given = start(name="closed")
    del given["variables"]
    assert await refusal(client.start_pipeline_execution(**given)) == "ValidationException"


async def test_a_token_returns_the_same_execution(
    standin: CodePipelineStandin, client: "CodePipelineClient", clock: Clock
) -> None:
    """A repeat starts nothing until the token is forgotten (model: idempotencyToken)."""
    first = await client.start_pipeline_execution(**start())
    clock.advance(standin.token_seconds - 1)
    again = await client.start_pipeline_execution(**start())
    assert first["pipelineExecutionId"] == again["pipelineExecutionId"]
    clock.advance(2)
    later = await client.start_pipeline_execution(**start())
    assert later["pipelineExecutionId"] != first["pipelineExecutionId"]
    assert len(standin.started) == 2


async def test_executions_are_listed_newest_first(
    client: "CodePipelineClient", clock: Clock
) -> None:
    """A page has the requested number, the rest comes with nextToken (API)."""
    ids = []
    for number in range(5):
        clock.advance(1)
        answer = await client.start_pipeline_execution(**start(clientRequestToken=f"t{number}"))
        ids.append(answer["pipelineExecutionId"])
    first = await client.list_pipeline_executions(pipelineName="deploy", maxResults=3)
    rest = await client.list_pipeline_executions(
        pipelineName="deploy", maxResults=3, nextToken=first["nextToken"]
    )
    listed = [*first["pipelineExecutionSummaries"], *rest["pipelineExecutionSummaries"]]
    assert ids[::-1] == [each["pipelineExecutionId"] for each in listed]
    assert "nextToken" not in rest
    kinds = {each["trigger"]["triggerType"] for each in listed}
    assert kinds == {"StartPipelineExecution"}


async def test_an_execution_has_its_version_once_its_source_has_run(
    standin: CodePipelineStandin, client: "CodePipelineClient", clock: Clock
) -> None:
    """Its variables are known from the beginning (API, GetPipelineExecution)."""
    id_ = (await client.start_pipeline_execution(**start()))["pipelineExecutionId"]
    execution = await client.get_pipeline_execution(pipelineName="deploy", pipelineExecutionId=id_)
    assert execution["pipelineExecution"]["variables"] == [
        {"name": "EVENT_ID", "resolvedValue": "e1"}
    ]
    listed = await client.list_pipeline_executions(pipelineName="deploy")
    assert listed["pipelineExecutionSummaries"][0].get("sourceRevisions") == []
    clock.advance(standin.source_seconds)
    listed = await client.list_pipeline_executions(pipelineName="deploy")
    assert listed["pipelineExecutionSummaries"][0].get("sourceRevisions") == [
        {"actionName": "Archive", "revisionId": "1"}
    ]


@pytest.mark.parametrize("status", ["Succeeded", "Failed", "Stopped", "Superseded", "Cancelled"])
async def test_an_execution_ends(
    standin: CodePipelineStandin, client: "CodePipelineClient", clock: Clock, status: str
) -> None:
    """Until then it is InProgress and its actions are not listed as done (API)."""
    standin.end = PipelineEnd(status)
    id_ = (await client.start_pipeline_execution(**start()))["pipelineExecutionId"]
    seen = []
    for seconds in (0, standin.run_seconds):
        clock.advance(seconds)
        told = await client.get_pipeline_execution(pipelineName="deploy", pipelineExecutionId=id_)
        seen.append(told["pipelineExecution"].get("status"))
    assert seen == ["InProgress", status]


async def test_a_stopped_execution_ends_after_its_action(
    standin: CodePipelineStandin, client: "CodePipelineClient", clock: Clock
) -> None:
    """It is Stopping until then, and then Stopped (API, StopPipelineExecution)."""
    id_ = (await client.start_pipeline_execution(**start()))["pipelineExecutionId"]
    clock.advance(1)
    answer = await client.stop_pipeline_execution(
        pipelineName="deploy", pipelineExecutionId=id_, reason="superseded"
    )
    assert answer["pipelineExecutionId"] == id_
    seen = []
    for seconds in (0, standin.run_seconds / 2):
        clock.advance(seconds)
        told = await client.get_pipeline_execution(pipelineName="deploy", pipelineExecutionId=id_)
        seen.append(told["pipelineExecution"].get("status"))
    assert seen == ["Stopping", "Stopped"]
    listed = await client.list_action_executions(
        pipelineName="deploy", filter={"pipelineExecutionId": id_}
    )
    assert [each.get("actionName") for each in listed["actionExecutionDetails"]] == ["Archive"]


async def test_an_abandoned_execution_is_stopped_at_once(client: "CodePipelineClient") -> None:
    """Its actions are not waited for (API, StopPipelineExecution, abandon)."""
    id_ = (await client.start_pipeline_execution(**start()))["pipelineExecutionId"]
    await client.stop_pipeline_execution(
        pipelineName="deploy", pipelineExecutionId=id_, abandon=True
    )
    told = await client.get_pipeline_execution(pipelineName="deploy", pipelineExecutionId=id_)
    assert told["pipelineExecution"].get("status") == "Stopped"


async def test_what_cannot_be_stopped_is_refused(
    standin: CodePipelineStandin, client: "CodePipelineClient", clock: Clock
) -> None:
    """Twice, after the end, in another pipeline (API, StopPipelineExecution, Errors)."""
    id_ = (await client.start_pipeline_execution(**start()))["pipelineExecutionId"]

    async def stop(pipeline: str = "deploy") -> str:
        return await refusal(
            client.stop_pipeline_execution(pipelineName=pipeline, pipelineExecutionId=id_)
        )

    assert await stop("other") == "PipelineNotFoundException"
    await client.stop_pipeline_execution(pipelineName="deploy", pipelineExecutionId=id_)
    assert await stop() == "DuplicatedStopRequestException"
    clock.advance(standin.run_seconds)
    assert await stop() == "PipelineExecutionNotStoppableException"


async def test_a_failed_action_is_the_newest(
    standin: CodePipelineStandin, client: "CodePipelineClient", clock: Clock
) -> None:
    """With its stage, name and message, before those that succeeded (API, ListActionExecutions)."""
    standin.end = PipelineEnd("Failed", message="Phase: BUILD")
    id_ = (await client.start_pipeline_execution(**start()))["pipelineExecutionId"]
    clock.advance(standin.run_seconds)
    listed = await client.list_action_executions(
        pipelineName="deploy", filter={"pipelineExecutionId": id_}
    )
    failed, *others = listed["actionExecutionDetails"]
    assert [failed.get("actionName"), failed.get("status")] == ["Deploy", "Failed"]
    result = failed.get("output", {}).get("executionResult", {})
    assert result.get("errorDetails", {}).get("message") == "Phase: BUILD"
    assert {each.get("status") for each in others} == {"Succeeded"}


async def test_at_its_limit_a_pipeline_starts_nothing(
    standin: CodePipelineStandin, client: "CodePipelineClient", clock: Clock
) -> None:
    """ConcurrentPipelineExecutionsLimitExceededException, until one has ended (API, Errors)."""
    standin.running_limit = 1
    await client.start_pipeline_execution(**start())
    call = client.start_pipeline_execution(**start(clientRequestToken="other"))
    assert await refusal(call) == "ConcurrentPipelineExecutionsLimitExceededException"
    clock.advance(standin.run_seconds)
    await client.start_pipeline_execution(**start(clientRequestToken="other"))
    assert len(standin.started) == 2


async def test_every_answer_fits_the_model(standin: CodePipelineStandin, clock: Clock) -> None:
    """Answers of the stand-in have the shapes of botocore's model."""
    model = service_model("codepipeline")
    await standin.answer("CreatePipeline", {"pipeline": pipeline_of("deploy", variables=("A",))})
    standin.end = PipelineEnd("Failed")
    started = await standin.answer("StartPipelineExecution", {"name": "deploy"})
    clock.advance(60)
    newer = await standin.answer("StartPipelineExecution", {"name": "deploy"})
    running = newer["pipelineExecutionId"]
    for operation, members in (
        ("CreatePipeline", {"pipeline": pipeline_of("other")}),
        ("GetPipeline", {"name": "deploy"}),
        ("StartPipelineExecution", {**start(variables=[{"name": "A", "value": "b"}])}),
        ("ListPipelineExecutions", {"pipelineName": "deploy"}),
        ("GetPipelineExecution", {"pipelineName": "deploy", **started}),
        ("ListActionExecutions", {"pipelineName": "deploy", "filter": started}),
        ("StopPipelineExecution", {"pipelineName": "deploy", "pipelineExecutionId": running}),
    ):
        shape = model.operation_model(operation).output_shape
        assert shape is not None
        assert list(iter_faults(shape, await standin.answer(operation, members), "")) == []


async def test_every_error_is_one_of_the_operation(standin: CodePipelineStandin) -> None:
    """Its error codes for a start are declared there (model)."""
    declared = service_model("codepipeline").operation_model("StartPipelineExecution").error_shapes
    codes = set()
    standin.put_pipeline(pipeline_of("deploy"))
    standin.running_limit = 0
    for request in ({"name": "no"}, start(), {"name": "deploy"}):
        with pytest.raises(AwsError) as caught:
            await standin.answer("StartPipelineExecution", request)
        codes.add(caught.value.code)
    assert len(codes) == 3
    assert codes <= {shape.name for shape in declared}
