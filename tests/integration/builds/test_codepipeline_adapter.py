"""Starts of pipelines, against the stand-in for CodePipeline and its clock."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.codebuild import Clock, make_push
from support.codepipeline import EVENT_ID, make_hand_over, open_codepipeline_client
from support.codepipeline_server import (
    CodePipelineStandin,
    open_codepipeline_standin,
    pipeline_of,
)

from asyncbuild.builds.codepipeline import CodePipeline
from asyncbuild.domain.errors import (
    Busy,
    Denied,
    LeaseLost,
    Outage,
    Reject,
    Retry,
    StageError,
)
from asyncbuild.local.servers.aws_json import AwsError


def _free() -> None:
    """Guard that lets everything pass."""


@pytest.fixture
def clock() -> Clock:
    """Clock of the stand-in. It begins now: the adapter compares start times with the real time."""
    return Clock(datetime.now(UTC).timestamp())


@pytest.fixture
async def standin(clock: Clock) -> AsyncIterator[CodePipelineStandin]:
    """A stand-in with a pipeline that declares EVENT_ID and COMMIT_ID."""
    async with open_codepipeline_standin(clock=clock) as standin:
        standin.put_pipeline(pipeline_of("deploy", variables=(EVENT_ID, "COMMIT_ID")))
        yield standin


@pytest.fixture
async def pipelines(standin: CodePipelineStandin) -> AsyncIterator[CodePipeline]:
    """Open the adapter."""
    async with open_codepipeline_client(standin.endpoint_url) as client:
        yield CodePipeline(client)


def since(clock: Clock) -> datetime:
    """Return the time an hour ago."""
    return datetime.fromtimestamp(clock.now, UTC) - timedelta(hours=1)


async def test_the_exact_version_is_passed(
    standin: CodePipelineStandin, pipelines: CodePipeline
) -> None:
    """Key, version, and the variables that the pipeline declares."""
    push = make_push()
    execution = await pipelines.start(make_hand_over(push), guard=_free)
    (run,) = standin.started
    assert execution.id == run.id
    assert execution.arn == "arn:aws:codepipeline:eu-west-1:123456789012:deploy"
    assert run.revisions == {"S3_OBJECT_KEY": "shop/main/1.zip", "S3_OBJECT_VERSION_ID": "v1"}
    assert run.variables == {EVENT_ID: push.id, "COMMIT_ID": push.commit}


async def test_a_repeat_starts_nothing(
    standin: CodePipelineStandin, pipelines: CodePipeline
) -> None:
    """The token is one for each event and pipeline (I12)."""
    first = await pipelines.start(make_hand_over(), guard=_free)
    assert first == await pipelines.start(make_hand_over(), guard=_free)
    assert len(standin.started) == 1


async def test_a_lost_lease_starts_nothing(
    standin: CodePipelineStandin, pipelines: CodePipeline
) -> None:
    """The guard is asked right before the call (I4)."""

    def lost() -> None:
        raise LeaseLost("gone")

    with pytest.raises(LeaseLost):
        await pipelines.start(make_hand_over(), guard=lost)
    assert standin.calls["StartPipelineExecution"] == 0


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ConcurrentPipelineExecutionsLimitExceededException", 400, Busy),
        ("ThrottlingException", 400, Busy),
        ("ValidationException", 400, Reject),
        ("PipelineNotFoundException", 400, Reject),
        ("AccessDeniedException", 400, Denied),
        ("InternalFailure", 500, Outage),
        ("SomethingNewException", 400, Retry),
    ],
)
@pytest.mark.parametrize("operation", ["StartPipelineExecution", "GetPipeline"])
async def test_every_refusal_has_its_kind(
    standin: CodePipelineStandin,
    pipelines: CodePipeline,
    operation: str,
    code: str,
    status: int,
    kind: type[StageError],
) -> None:
    """Limits wait, faults are reported, missing rights name the call, the rest is retried."""
    standin.fail_next(operation, AwsError(code, "no", status=status))
    with pytest.raises(kind, match="deploy"):
        await pipelines.start(make_hand_over(), guard=_free)
    assert standin.started == []


async def test_a_busy_pipeline_is_waited_for(
    standin: CodePipelineStandin, pipelines: CodePipeline
) -> None:
    """ConflictException says to try later (API): no attempt is counted (I5)."""
    standin.fail_next("StartPipelineExecution", AwsError("ConflictException", "ongoing"))
    with pytest.raises(Busy, match="deploy"):
        await pipelines.start(make_hand_over(), guard=_free)
    await pipelines.start(make_hand_over(), guard=_free)
    assert len(standin.started) == 1


async def test_a_full_pipeline_is_waited_for(
    standin: CodePipelineStandin, pipelines: CodePipeline, clock: Clock
) -> None:
    """A start succeeds once an execution has ended."""
    standin.running_limit = 1
    await pipelines.start(make_hand_over(), guard=_free)
    second = make_hand_over(make_push(2))
    with pytest.raises(Busy):
        await pipelines.start(second, guard=_free)
    clock.advance(standin.run_seconds)
    await pipelines.start(second, guard=_free)
    assert len(standin.started) == 2


class TestFindRecent:
    """Search for an execution whose token may have expired (I12)."""

    async def test_an_execution_is_found_by_its_event(
        self, pipelines: CodePipeline, clock: Clock
    ) -> None:
        """Among those of other pushes, and with any version of the object."""
        push = make_push(2)
        await pipelines.start(make_hand_over(make_push(1)), guard=_free)
        wanted = await pipelines.start(make_hand_over(push), guard=_free)
        await pipelines.start(make_hand_over(make_push(3)), guard=_free)
        again = make_hand_over(push, version="v2")
        assert wanted == await pipelines.find_recent(again, since=since(clock))
        assert await pipelines.find_recent(make_hand_over(make_push(4)), since=since(clock)) is None

    async def test_a_copy_of_another_user_is_not_taken_for_ours(
        self, standin: CodePipelineStandin, pipelines: CodePipeline, clock: Clock
    ) -> None:
        """A copy has all our variables; its result would be recorded as that of the push."""
        ours = await pipelines.start(make_hand_over(), guard=_free)
        clock.advance(1)
        copied = {**standin.started[0].request, "clientRequestToken": "by-hand"}
        await standin.answer("StartPipelineExecution", copied)
        assert ours == await pipelines.find_recent(make_hand_over(), since=since(clock))

    async def test_an_execution_before_the_push_is_not_read(
        self, standin: CodePipelineStandin, pipelines: CodePipeline, clock: Clock
    ) -> None:
        """Older executions cannot be the push's own."""
        await pipelines.start(make_hand_over(), guard=_free)
        later = datetime.fromtimestamp(clock.now + 1, UTC)
        assert await pipelines.find_recent(make_hand_over(), since=later) is None
        assert standin.calls["GetPipelineExecution"] == 0

    async def test_an_execution_on_a_later_page_is_found(
        self, standin: CodePipelineStandin, pipelines: CodePipeline, clock: Clock
    ) -> None:
        """More than a hundred executions since the push are read to the end."""
        wanted = await pipelines.start(make_hand_over(), guard=_free)
        request: dict[str, Any] = {"name": "deploy"}
        for number in range(120):
            clock.advance(0.001)
            await standin.answer(
                "StartPipelineExecution", {**request, "clientRequestToken": str(number)}
            )
        assert wanted == await pipelines.find_recent(make_hand_over(), since=since(clock))
        assert standin.calls["ListPipelineExecutions"] == 2

    async def test_the_newest_execution_is_found_by_its_version(
        self, standin: CodePipelineStandin, pipelines: CodePipeline, clock: Clock
    ) -> None:
        """Without EVENT_ID only the newest counts: older ones may be another push's."""
        standin.put_pipeline(pipeline_of("deploy"))
        first, second = make_hand_over(make_push(1)), make_hand_over(make_push(2), version="v2")
        found = await pipelines.start(first, guard=_free)
        clock.advance(standin.source_seconds)
        assert found == await pipelines.find_recent(first, since=since(clock))
        await pipelines.start(second, guard=_free)
        clock.advance(standin.source_seconds)
        assert await pipelines.find_recent(first, since=since(clock)) is None

    async def test_an_execution_without_a_version_is_waited_for(
        self, standin: CodePipelineStandin, pipelines: CodePipeline, clock: Clock
    ) -> None:
        """Its source has not run yet; the wait has a limit."""
        standin.put_pipeline(pipeline_of("deploy"))
        standin.source_seconds = standin.run_seconds = 10_000
        request = make_hand_over()
        await pipelines.start(request, guard=_free)
        with pytest.raises(Busy, match=EVENT_ID):
            await pipelines.find_recent(request, since=since(clock))
        standin.started[0] = replace(standin.started[0], time=clock.now - 601)
        assert await pipelines.find_recent(request, since=since(clock)) is None

    async def test_a_missing_pipeline_is_rejected(
        self, pipelines: CodePipeline, clock: Clock
    ) -> None:
        """The answer is the same as for a start."""
        with pytest.raises(Reject, match="gone does not exist"):
            await pipelines.find_recent(make_hand_over(pipeline="gone"), since=since(clock))
