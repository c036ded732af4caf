"""A manual clock, clients for stand-ins, and pushes to build."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import aioboto3
import pytest
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError

from asyncbuild.builds.requests.start_build import token_of, variables_of
from asyncbuild.domain.model import Action, BuildRequest, Change, Push, Target
from asyncbuild.domain.repository import Repository

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient


@dataclass
class Clock:
    """Epoch seconds that move only when advanced."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time, as `time.time` does."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` go by."""
        self.now += seconds


@cache
def _session() -> aioboto3.Session:
    """Return the shared session, whose first client of a service loads the model for all others."""
    return aioboto3.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-west-1"
    )


@asynccontextmanager
async def open_codebuild_client(endpoint_url: str) -> AsyncIterator["CodeBuildClient"]:
    """Open a client with made-up credentials and no retries."""
    config = AioConfig(retries={"mode": "standard", "total_max_attempts": 1})
    async with _session().client("codebuild", endpoint_url=endpoint_url, config=config) as client:
        yield client


def make_push(number: int = 1, *, ref: str = "refs/heads/main") -> Push:
    """Return the push number `number` of repository `shop`."""
    return Push(
        id=f"00000000-0000-4000-8000-{number:012d}",
        repository=Repository.of_codecommit("123456789012", "eu-west-1", "shop"),
        ref=ref,
        commit=f"{number:040x}",
        change=Change.UPDATED,
        time=datetime(2026, 11, 1, 12, 0, number % 60, tzinfo=UTC),
        old_commit=f"{number - 1:040x}" if number > 1 else None,
    )


def make_request(
    push: Push, *, project: str = "shop", key: str = "shop/main/1.zip", version: str | None = None
) -> BuildRequest:
    """Return a request to build `push` from an archive in bucket `archives`."""
    target = Target(Action.BUILD, key, project)
    return BuildRequest(
        project=project,
        bucket="archives",
        key=key,
        token=token_of(push, project),
        variables=variables_of(push, target),
        version_id=version,
    )


async def refusal(call: Any) -> str:  # noqa: ANN401 - any operation's coroutine
    """Return the error code that `call` is refused with."""
    with pytest.raises(ClientError) as caught:
        await call
    assert (
        caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    )  # like all errors of CodeBuild
    return str(caught.value.response["Error"]["Code"])
