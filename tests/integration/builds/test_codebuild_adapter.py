"""The CodeBuild adapter against the stand-in, through the client the service uses."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from support.codebuild import make_push, make_request, open_codebuild_client
from support.proxy import closed_port

from asyncbuild.builds.codebuild import CodeBuild
from asyncbuild.checks.trials import try_any_project
from asyncbuild.config import BuildSettings
from asyncbuild.domain.errors import (
    BadCredentials,
    Busy,
    Denied,
    LeaseLost,
    Outage,
    Reject,
    StageError,
)
from asyncbuild.local.servers.aws_json import AwsError
from asyncbuild.local.servers.build_script import Script
from asyncbuild.local.servers.codebuild_server import open_codebuild_standin
from asyncbuild.local.servers.codebuild_state import CodeBuildStandin

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
async def standin() -> AsyncIterator[CodeBuildStandin]:
    """A stand-in with one project."""
    async with open_codebuild_standin(["shop"]) as standin:
        yield standin


@pytest.fixture
async def codebuild(standin: CodeBuildStandin) -> AsyncIterator[CodeBuild]:
    """Open the adapter, connected to the stand-in."""
    async with open_codebuild_client(standin.endpoint_url) as client:
        yield CodeBuild(client, BuildSettings())


def free() -> None:
    """Guard that lets everything pass."""


async def test_a_build_starts_as_requested(codebuild: CodeBuild, standin: CodeBuildStandin) -> None:
    """Project, object, version and variables arrive as requested; the answer names the build."""
    request = make_request(make_push(3), version="v1")
    build = await codebuild.start(request, guard=free)
    (started,) = standin.started
    assert started.build == build.id
    assert started.number == build.number == 1
    assert build.arn.endswith(build.id)
    assert started.location == "archives/shop/main/1.zip"
    assert started.request["sourceVersion"] == "v1"
    assert request.variables == started.variables


async def test_equal_requests_start_one_build(
    codebuild: CodeBuild, standin: CodeBuildStandin
) -> None:
    """A repeat has the same build (I12)."""
    first = await codebuild.start(make_request(make_push()), guard=free)
    assert first == await codebuild.start(make_request(make_push()), guard=free)
    assert len(standin.started) == 1


async def test_a_changed_request_finds_its_build(
    codebuild: CodeBuild, standin: CodeBuildStandin
) -> None:
    """Delivered again within five minutes, the object uploaded again: still one build (I12)."""
    first = await codebuild.start(make_request(make_push(), version="v1"), guard=free)
    await codebuild.start(make_request(make_push(2)), guard=free)
    again = await codebuild.start(make_request(make_push(), version="v2"), guard=free)
    assert first == again
    assert len(standin.started) == 2


async def test_an_invalid_request_is_rejected(
    codebuild: CodeBuild, standin: CodeBuildStandin
) -> None:
    """Without an earlier build, InvalidInputException is final."""
    with pytest.raises(Reject, match="InvalidInputException"):
        await codebuild.start(make_request(make_push(), key=""), guard=free)
    assert standin.started == []


async def test_an_unknown_project_is_rejected(codebuild: CodeBuild) -> None:
    """The error names the project and a remedy, for starting and for looking."""
    with pytest.raises(Reject, match="project till does not exist") as caught:
        await codebuild.start(make_request(make_push(), project="till"), guard=free)
    assert caught.value.remedy
    with pytest.raises(Reject, match="project till does not exist"):
        await codebuild.find_recent("till", {"EVENT_ID": "e"}, since=LONG_AGO)


async def test_the_guard_is_asked_last(codebuild: CodeBuild, standin: CodeBuildStandin) -> None:
    """A lost lease starts nothing; CodeBuild is not even called (I4)."""

    def lost() -> None:
        raise LeaseLost("the lease of message 1 has run out")

    with pytest.raises(LeaseLost):
        await codebuild.start(make_request(make_push()), guard=lost)
    assert standin.calls == {}


async def test_a_full_account_is_busy(codebuild: CodeBuild, standin: CodeBuildStandin) -> None:
    """The limit counts no attempt (I5)."""
    standin.running_limit = 0
    with pytest.raises(Busy, match="AccountLimitExceededException"):
        await codebuild.start(make_request(make_push()), guard=free)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (AwsError("ThrottlingException", "Rate exceeded"), Busy),
        (AwsError("AccessDeniedException", "not allowed"), Denied),
        (AwsError("InternalFailure", "oops", status=500), Outage),
        (AwsError("InvalidSignatureException", "Signature expired: 1 is now earlier"), Outage),
        (AwsError("ExpiredTokenException", "the token is expired"), BadCredentials),
        (AwsError("UnrecognizedClientException", "the token is invalid"), BadCredentials),
    ],
    ids=lambda value: getattr(value, "code", None),
)
async def test_each_error_has_its_kind(
    codebuild: CodeBuild, standin: CodeBuildStandin, answer: AwsError, kind: type[StageError]
) -> None:
    """CodeBuild's code decides; the text names the project."""
    standin.fail_next("StartBuild", answer)
    standin.fail_next("ListBuildsForProject", answer)
    with pytest.raises(kind, match="project shop"):
        await codebuild.start(make_request(make_push()), guard=free)
    with pytest.raises(kind, match="project shop"):
        await codebuild.find_recent("shop", {"EVENT_ID": "e"}, since=LONG_AGO)


async def test_an_unreachable_codebuild_is_an_outage() -> None:
    """No push counts an attempt (I5); the error says what to check."""
    with closed_port() as port:
        async with open_codebuild_client(f"http://127.0.0.1:{port}") as client:
            codebuild = CodeBuild(client, BuildSettings())
            with pytest.raises(Outage, match="endpoint_url"):
                await codebuild.start(make_request(make_push()), guard=free)


WANTED = make_request(make_push()).variables


class TestFindRecent:
    """Search for a build that an expired token would not find."""

    async def test_all_pages_are_searched(
        self, codebuild: CodeBuild, standin: CodeBuildStandin
    ) -> None:
        """The oldest of 250 builds is found, a hundred at a time."""
        wanted = await codebuild.start(make_request(make_push()), guard=free)
        for _ in range(249):
            await standin.answer("StartBuild", {"projectName": "shop"})
        assert wanted == await codebuild.find_recent("shop", WANTED, since=LONG_AGO)
        assert 3 == standin.calls["ListBuildsForProject"] == standin.calls["BatchGetBuilds"]

    async def test_without_a_build_none_is_found(self, codebuild: CodeBuild) -> None:
        """No builds, or none of this push: None."""
        assert None is await codebuild.find_recent("shop", WANTED, since=LONG_AGO)
        await codebuild.start(make_request(make_push(2)), guard=free)
        assert None is await codebuild.find_recent("shop", WANTED, since=LONG_AGO)

    async def test_the_search_ends_at_older_builds(
        self, codebuild: CodeBuild, standin: CodeBuildStandin
    ) -> None:
        """Builds before `since` are neither found nor read."""
        await codebuild.start(make_request(make_push()), guard=free)
        for _ in range(150):
            await standin.answer("StartBuild", {"projectName": "shop"})
        since = datetime.now(UTC) + timedelta(minutes=1)
        assert None is await codebuild.find_recent("shop", WANTED, since=since)
        assert standin.calls["ListBuildsForProject"] == 1

    async def test_a_copy_of_another_user_is_not_taken_for_ours(
        self, codebuild: CodeBuild, standin: CodeBuildStandin
    ) -> None:
        """A copy has all our variables; its result would be recorded as that of the push."""
        ours = await codebuild.start(make_request(make_push()), guard=free)
        standin.start_foreign(ours.id)
        assert ours == await codebuild.find_recent("shop", WANTED, since=LONG_AGO)

    async def test_a_later_attempt_is_not_taken_for_the_start(
        self, codebuild: CodeBuild, standin: CodeBuildStandin
    ) -> None:
        """The index has the build that was started; CodeBuild's retry has the same variables."""
        standin.script = Script(0, 0, "FAILED")
        standin.add_project("retried", retries=1)
        request = make_request(make_push(), project="retried")
        ours = await codebuild.start(request, guard=free)
        standin.settle()
        assert standin.build(ours.id).newest().id != ours.id
        assert ours == await codebuild.find_recent("retried", WANTED, since=LONG_AGO)

    async def test_only_the_event_variable_matches(
        self, codebuild: CodeBuild, standin: CodeBuildStandin
    ) -> None:
        """Equal text in another variable belongs to another build."""
        other = {"name": "NOTE", "value": make_push().id}
        request = {"projectName": "shop", "environmentVariablesOverride": [other]}
        await standin.answer("StartBuild", request)
        assert None is await codebuild.find_recent("shop", WANTED, since=LONG_AGO)


async def test_a_trial_start_starts_no_build(
    standin: CodeBuildStandin,
) -> None:
    """The tried project does not exist, so the answer names it, and no build starts."""
    async with open_codebuild_client(standin.endpoint_url) as client:
        trial = await try_any_project(client)
    assert (trial.answer, trial.denied) == ("ResourceNotFoundException", False)
    assert standin.started == []
