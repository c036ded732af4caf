"""A push to a deployment branch runs its pipeline; the task is protected meanwhile."""

from collections.abc import AsyncIterator
from itertools import chain

import orjson
import pytest
from support.codepipeline_server import (
    CodePipelineStandin,
    open_codepipeline_standin,
    pipeline_of,
)
from support.ecs_agent import Agent, open_agent
from support.service import environment, make_pushes, open_service, wait_settled

from asyncbuild.builds.ledger import Ledger
from asyncbuild.local.stack import BUCKET, Stack, open_stack
from asyncbuild.storage.s3 import Store

pytestmark = pytest.mark.timeout(400)
_RULES = [{"action": "pipeline", "pipeline": ["deploy-{repository}", "missing"], "ref": ["*"]}]
_DECLARED = ("EVENT_ID", "COMMIT_ID", "BRANCH_NAME")


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    """Open a stack whose bucket keeps versions, as pipelines need it."""
    async with open_stack([]) as stack:
        await stack.s3.put_bucket_versioning(
            Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
        )
        yield stack


@pytest.fixture
async def pipelines() -> AsyncIterator[CodePipelineStandin]:
    """Open the stand-in with a pipeline for each of two repositories."""
    async with open_codepipeline_standin() as standin:
        for number in range(2):
            name = f"deploy-repository-{number:03d}"
            standin.put_pipeline(pipeline_of(name, bucket=BUCKET, variables=_DECLARED))
        yield standin


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    """Open the agent of ECS."""
    async with open_agent() as agent:
        yield agent


async def test_each_push_runs_its_pipeline_once_in_order(
    stack: Stack, pipelines: CodePipelineStandin, agent: Agent
) -> None:
    """The exact version of its archive; a record for each; protected, then released."""
    lanes = await make_pushes(stack, repositories=2, pushes=4)
    for push in chain.from_iterable(zip(*lanes, strict=True)):
        await stack.send(push)
    rules = [{**_RULES[0], "pipeline": "deploy-{repository}"}]
    variables = environment(stack, rules=rules)
    variables["ASYNCBUILD_PIPELINES__ENDPOINT_URL"] = pipelines.endpoint_url
    variables["ECS_AGENT_URI"] = agent.uri
    async with open_service(variables) as service:
        await agent.wait(protected=True)
        await wait_settled(stack)
        service.terminate()
        assert await service.wait() == 0
    assert agent.changes == [15, None]
    for number, lane in enumerate(lanes):
        name = f"deploy-repository-{number:03d}"
        runs = [run for run in pipelines.started if run.request["name"] == name]
        assert [push.id for push in lane] == [run.variables["EVENT_ID"] for run in runs]
        for push, run in zip(lane, runs, strict=True):
            assert run.variables["COMMIT_ID"] == push.commit
            found = await stack.s3.head_object(
                Bucket=BUCKET,
                Key=run.revisions["S3_OBJECT_KEY"],
                VersionId=run.revisions["S3_OBJECT_VERSION_ID"],
            )
            assert found["Metadata"]["asyncbuild-commit"] == push.commit
    told = [line for line in service.log if line["event"] == "push.handed-over"]
    assert {line["execution_id"] for line in told} == {run.id for run in pipelines.started}


async def test_a_missing_pipeline_is_reported(stack: Stack, pipelines: CodePipelineStandin) -> None:
    """The rule's other pipeline was started and is recorded.

    The push is dead-lettered with the reason.
    """
    ((push,),) = await make_pushes(stack, repositories=1, pushes=1)
    await stack.send(push)
    variables = environment(stack, rules=_RULES)
    variables["ASYNCBUILD_PIPELINES__ENDPOINT_URL"] = pipelines.endpoint_url
    async with open_service(variables, "drain") as service:
        assert await service.wait() == 0
    (letter,) = [line for line in service.log if line["event"] == "push.dead-lettered"]
    assert "pipeline missing does not exist" in letter["reason"]
    assert len(pipelines.started) == 1
    storage = stack.settings.storage
    store = Store(stack.s3, storage)
    ledger = Ledger(store, prefix=storage.ledger_prefix)
    (repository,) = await ledger.find_repositories("repository-000")
    prefix = f"{storage.ledger_prefix}push/{repository.path}/"
    records = [
        orjson.loads(await store.get_record(each.key) or b"{}")
        async for each in store.iter_records(prefix)
    ]
    assert {record["verdict"] for record in records} == {"handed-over", "rejected"}


async def test_a_pipeline_that_cannot_start_is_found_by_check(
    stack: Stack, pipelines: CodePipelineStandin
) -> None:
    """`check` says whether each pipeline accepts a rule's archive, and starts none."""
    pipelines.put_pipeline(pipeline_of("elsewhere", bucket="other"))
    named = ["deploy-repository-000", "elsewhere", "missing", "deploy-{repository}"]
    rule = {**_RULES[0], "pipeline": named, "variables": {"STAGE": "test"}}
    variables = environment(stack, rules=[rule])
    variables["ASYNCBUILD_PIPELINES__ENDPOINT_URL"] = pipelines.endpoint_url
    async with open_service(variables, "check", "--json") as service:
        document = orjson.loads(await service.read())
        assert await service.wait() == 78  # EX_CONFIG
    told = [
        (each["name"], each["level"])
        for each in document["findings"]
        if each["name"].startswith("pipeline.")
    ]
    assert told == [
        ("pipeline.name", "note"),
        ("pipeline.exists", "ok"),
        ("pipeline.source", "ok"),
        ("pipeline.variables", "problem"),
        ("pipeline.exists", "ok"),
        ("pipeline.source", "problem"),
        ("pipeline.variables", "problem"),
        ("pipeline.event-id", "note"),
        ("pipeline.exists", "problem"),
    ]
    assert pipelines.started == []
