"""Clients for the stand-in of CodePipeline, and requests to start a pipeline."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import aioboto3
from aiobotocore.config import AioConfig
from support.codebuild import make_push

from asyncbuild.builds.requests.start_build import token_of, variables_of
from asyncbuild.domain.model import Action, HandOver, Push, Target

if TYPE_CHECKING:
    from types_aiobotocore_codepipeline import CodePipelineClient

EVENT_ID = "EVENT_ID"


@cache
def _session() -> aioboto3.Session:
    return aioboto3.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-west-1"
    )


@asynccontextmanager
async def open_codepipeline_client(endpoint_url: str) -> AsyncIterator["CodePipelineClient"]:
    """Open a client with made-up credentials, no retries, and no checks of its own."""
    config = AioConfig(
        retries={"mode": "standard", "total_max_attempts": 1}, parameter_validation=False
    )
    maker: Any = _session().client("codepipeline", endpoint_url=endpoint_url, config=config)
    async with maker as client:
        yield client


def make_hand_over(
    push: Push | None = None, *, version: str | None = "v1", **changed: object
) -> HandOver:
    """Return a request to start pipeline `deploy` for `push`, with an archive in `archives`."""
    push = push or make_push()
    request = HandOver(
        pipeline="deploy",
        source_action="",
        bucket="archives",
        key="shop/main/1.zip",
        version_id=version,
        token=token_of(push, "deploy"),
        variables=variables_of(push, Target(Action.PIPELINE, "k", pipeline="deploy")),
    )
    return replace(request, **changed)  # type: ignore[arg-type] # any member of it
