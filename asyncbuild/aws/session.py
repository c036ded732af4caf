"""Sessions and clients of AWS services.

Two levels retry, and no third: botocore's standard mode repeats a single call (a throttle, a cut
connection) up to `aws.max_tries` times; the lane repeats a whole push.
"""

import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import aioboto3
import aiobotocore
import botocore
from aiobotocore.config import AioConfig

from asyncbuild import __version__
from asyncbuild.aws.classify import errors_of
from asyncbuild.config.places import region_fault
from asyncbuild.config.sections import AwsSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import (
    ConfigError,
)

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient
    from types_aiobotocore_codepipeline import CodePipelineClient
    from types_aiobotocore_events import EventBridgeClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_secretsmanager import SecretsManagerClient
    from types_aiobotocore_sqs import SQSClient

# botocore puts its own together twice for each request, and uses a given one as it is.
# Source: API reference of botocore.config.Config, user_agent.
_USER_AGENT = (
    f"aiobotocore/{aiobotocore.__version__} botocore/{botocore.__version__} "
    f"{platform.python_implementation()}/{platform.python_version()} asyncbuild/{__version__}"
)
_OPERATIONS_ON_KEYS = (
    *("CompleteMultipartUpload", "CreateMultipartUpload", "DeleteObject", "GetObject"),
    *("HeadObject", "PutObject", "UploadPart", "UploadPartCopy"),
)

CODEBUILD_MOST_SECONDS = 120
"""Longest duration of one call with its repetitions and the pauses between them.

An idempotency token that was sent with the first must still be known when the last arrives.
"""


def client_config(aws: AwsSettings, *, pool: int, **more: Any) -> AioConfig:  # noqa: ANN401 - AioConfig's own
    """Return a botocore configuration with time-outs and retries of `[aws]` and `pool` connections.

    The pool is hard and its queue has no limit: every client gets as many connections as it has
    users at once, so that a renewal never waits behind a long poll.

    Args:
        aws: Settings of `[aws]`.
        pool: Number of connections.
        more: Further arguments of `AioConfig`, which override those from `aws`.
    """
    timeouts = {
        "connect_timeout": aws.connect_timeout_seconds,
        "read_timeout": aws.read_timeout_seconds,
    }
    return AioConfig(
        max_pool_connections=pool,
        retries={"mode": "standard", "total_max_attempts": aws.max_tries},
        user_agent=_USER_AGENT,
        **timeouts | more,
    )


def forget_keys(client: "S3Client") -> None:
    """Let a client look up the endpoint of a bucket once, and not once for each key.

    An operation tells its key to the rules that choose an endpoint, none of which reads it; but
    botocore remembers the choice for each key apart.
    """
    model = client.meta.service_model
    for name in _OPERATIONS_ON_KEYS:
        told = model.operation_model(name).context_parameters
        told[:] = [each for each in told if each.name != "Key"]


class Aws:
    """Session of the service, and the clients made from it. One per process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        with errors_of("open an AWS session"):
            self._session = aioboto3.Session(
                region_name=settings.aws.region, profile_name=settings.aws.profile
            )

    @property
    def session(self) -> aioboto3.Session:
        """Session itself, for the credentials of the service's own account."""
        return self._session

    @property
    def region(self) -> str | None:
        """Region that calls go to."""
        return cast("str | None", self._session.region_name)

    @asynccontextmanager
    async def open_sqs(self, *, pool: int) -> "AsyncIterator[SQSClient]":
        """Open a client for SQS with `pool` connections.

        Raises:
            ConfigError: A queue's URL names another Region than calls go to.
        """
        told = self._settings
        queues = (told.queue, told.results, told.reports, told.reconcile)
        urls = [url for each in queues for url in (each.url, each.dead_letter_url)]
        for url in filter(None, urls):
            if fault := region_fault(url, self.region):
                raise ConfigError(fault)
        async with self._open("sqs", self._settings.queue.endpoint_url, pool=pool) as client:
            yield client

    @asynccontextmanager
    async def open_s3(self, *, pool: int) -> "AsyncIterator[S3Client]":
        """Open a client for S3: payload signing and checksums as `[storage]` says."""
        storage = self._settings.storage
        s3 = {
            "addressing_style": storage.addressing_style,
            "payload_signing_enabled": storage.sign_payload,
        }
        more = {
            "s3": s3,
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        async with self._open("s3", storage.endpoint_url, pool=pool, **more) as client:
            forget_keys(client)
            yield client

    @asynccontextmanager
    async def open_codebuild(self, *, pool: int) -> "AsyncIterator[CodeBuildClient]":
        """Open a client for CodeBuild, whose calls end within `CODEBUILD_MOST_SECONDS`."""
        builds, aws = self._settings.builds, self._settings.aws
        most = CODEBUILD_MOST_SECONDS / aws.max_tries
        connect, read = aws.connect_timeout_seconds, aws.read_timeout_seconds
        more = {"connect_timeout": min(connect, most / 4), "read_timeout": min(read, most / 2)}
        async with self._open("codebuild", builds.endpoint_url, pool=pool, **more) as client:
            yield client

    @asynccontextmanager
    async def open_codepipeline(self, *, pool: int) -> "AsyncIterator[CodePipelineClient]":
        """Open a client for CodePipeline."""
        endpoint = self._settings.pipelines.endpoint_url
        async with self._open("codepipeline", endpoint, pool=pool) as client:
            yield client

    @asynccontextmanager
    async def open_secrets_manager(self, *, pool: int) -> "AsyncIterator[SecretsManagerClient]":
        """Open a client for Secrets Manager."""
        async with self._open("secretsmanager", None, pool=pool) as client:
            yield client

    @asynccontextmanager
    async def open_events(self, *, pool: int) -> "AsyncIterator[EventBridgeClient]":
        """Open a client for EventBridge, for outcome events and probes."""
        async with self._open("events", None, pool=pool) as client:
            yield client

    @asynccontextmanager
    async def _open(
        self,
        service: Literal["sqs", "s3", "codebuild", "codepipeline", "events", "secretsmanager"],
        endpoint_url: str | None,
        *,
        pool: int,
        **more: Any,  # noqa: ANN401 - AioConfig's own
    ) -> AsyncIterator[Any]:
        config = client_config(self._settings.aws, pool=pool, **more)
        with errors_of(f"open a client for {service}"):
            maker = cast("Any", self._session).client(
                service, endpoint_url=endpoint_url or self._settings.aws.endpoint_url, config=config
            )
            client = await maker.__aenter__()
        try:
            yield client
        finally:
            await maker.__aexit__(None, None, None)
