"""Sessions and clients; botocore's errors become ours here and nowhere else.

Two levels retry, and no third: botocore's standard mode repeats a single call (a throttle, a cut
connection) up to `aws.max_tries` times; the lane repeats a whole push.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import aioboto3
from aiobotocore.config import AioConfig
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from asyncbuild.aws.error_codes import FOR_PUSH, Instead, meaning_instead, meaning_of, name_of
from asyncbuild.config.places import region_fault
from asyncbuild.config.sections import AwsSettings
from asyncbuild.config.settings import Settings
from asyncbuild.domain.errors import (
    BadCredentials,
    Busy,
    ConfigError,
    NoPermission,
    Outage,
    Reject,
    Retry,
    StageError,
)

if TYPE_CHECKING:
    from types_aiobotocore_codebuild import CodeBuildClient
    from types_aiobotocore_codepipeline import CodePipelineClient
    from types_aiobotocore_events import EventBridgeClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_secretsmanager import SecretsManagerClient
    from types_aiobotocore_sqs import SQSClient

CODEBUILD_MOST_SECONDS = 120
"""What one call may take with its repetitions and the pauses between: an idempotency token that was
sent with the first must still be known when the last arrives."""

_CLOCK: Final = "correct the clock of this machine; if it is right, the secret access key is not"
_KEY: Final = "enable the KMS key, or name another one; see its state and policy"
_REGION: Final = "set aws.region, or AWS_REGION, to the region of the bucket"
_REMEDIES: Final[Mapping[str, str]] = {
    "301": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "InvalidSignatureException": _CLOCK,
    "RequestExpired": _CLOCK,
    "RequestInTheFuture": _CLOCK,
    "RequestTimeTooSkewed": _CLOCK,
    "SignatureDoesNotMatch": _CLOCK,
    "InvalidSecurity": "correct endpoint_url: HTTPS, and a server that takes signature version 4",
    "RegionDisabledException": "activate STS in that region, in the account's settings",
}
# OpenSSL's words for an answer that is no TLS record, in its versions 1.1 to 3.5.
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_PLAIN: Final = (
    "what listens there does not speak TLS: begin endpoint_url with http://, or name the port that "
    "does"
)
_WAY_THERE: Final = (
    "if it lasts, check endpoint_url, the region, and the way there: route, security group, VPC "
    "endpoint, DNS"
)
_NEW_CREDENTIALS: Final = (
    "if it lasts: give the task its role, log in again, or set other keys (AWS_PROFILE, "
    "AWS_ACCESS_KEY_ID)"
)
_AS_USUAL: Final[Instead] = {}
# Credentials that could not be read, asked for or renewed.
_NO_CREDENTIALS: Final = (
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.SSOError,
    boto.TokenRetrievalError,
)


def classify(error: Exception, doing: str, instead: Instead = _AS_USUAL) -> StageError:
    """Name the class of a botocore error, and AWS's code for it.

    Args:
        error: Raised by botocore.
        doing: What was tried, for people.
        instead: What errors mean here instead of what they mean elsewhere.
    """
    if isinstance(error, boto.ClientError):
        return _classify_answer(error, doing, instead)
    if isinstance(error, _NO_CREDENTIALS):
        return BadCredentials(f"{doing}: {error}", remedy=_NEW_CREDENTIALS)
    if isinstance(error, boto.ParamValidationError):
        return instead.get(Reject, Reject)(f"{doing}: {error}")
    if isinstance(error, boto.ProfileNotFound | boto.ConfigParseError):
        remedy = "correct aws.profile, AWS_PROFILE or that file"
        return ConfigError(f"{doing}: {error}", remedy=remedy)
    if isinstance(error, boto.NoRegionError):
        return ConfigError(f"{doing}: no region", remedy="set aws.region or AWS_REGION")
    # Whatever else botocore raises is about the way there: connections, time-outs, cut answers.
    return unreached(doing, error)


def _classify_answer(error: boto.ClientError, doing: str, instead: Instead) -> StageError:
    answer = error.response.get("Error", {})
    code = str(answer.get("Code", ""))  # where an answer has none, botocore takes the HTTP status
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"{doing}: {code}: {answer.get('Message', '')}".rstrip(": ")
    class_ = meaning_of(code) or _class_by_status(status)
    if code == "404" and error.operation_name == "HeadBucket":  # without a body, hence no code
        class_ = ConfigError
    remedy = _remedy(class_, code, error.operation_name)
    return meaning_instead(code, class_, instead)(text, remedy=remedy, code=code or None)


def _class_by_status(status: int) -> type[StageError]:
    """Class of an error code that is not known, by HTTP status (RFC 9110, section 15; RFC 6585)."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Busy
    return Outage if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Retry


def _remedy(class_: type[StageError], code: str, operation: str) -> str:
    name = name_of(code)
    if name in _REMEDIES:
        return _REMEDIES[name]
    if issubclass(class_, BadCredentials):
        return _NEW_CREDENTIALS
    if issubclass(class_, NoPermission):
        return f"allow {operation} on it in the policy of the task's role"
    if class_ is ConfigError:
        of_key = name.lower().startswith("kms") or name == "DecryptionFailure"
        return _KEY if of_key else "create it, or correct its name in the configuration"
    return ""


def unreached(doing: str, error: Exception, peer: str = "") -> Outage:
    """A call of `peer` that brought no answer."""
    no_tls = any(word in str(error) for word in _NO_TLS)
    return Outage(
        f"{doing}: {type(error).__name__}: {error}",
        remedy=_PLAIN if no_tls else _WAY_THERE,
        peer=peer,
    )


@contextmanager
def errors_of(doing: str, peer: str = "", instead: Instead = _AS_USUAL) -> Iterator[None]:
    """Turn botocore's errors inside into ours.

    Args:
        doing: What is tried, for people, such as `start build of project web`.
        peer: The service that is called: what is shown as away, or at its limit.
        instead: What errors mean here instead of what they mean elsewhere.
    """
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError, boto.HTTPClientError) as error:
        ours = classify(error, doing, instead)
        ours.peer = peer
        raise ours from error
    except OSError as error:
        raise unreached(doing, error, peer) from error
    except (ResponseParserError, ValueError, RecursionError) as error:  # of the answer's reader
        text = f"{doing}: the answer cannot be read: {type(error).__name__}"
        raise Retry(text, peer=peer) from error


# For the files that call one service only.
s3_errors = partial(errors_of, peer="s3")
sqs_errors = partial(errors_of, peer="sqs")
# One project or pipeline that the role may not start must not end the service for all others.
codebuild_errors = partial(errors_of, peer="codebuild", instead=FOR_PUSH)
codepipeline_errors = partial(errors_of, peer="codepipeline", instead=FOR_PUSH)


def client_config(aws: AwsSettings, *, pool: int, **more: Any) -> AioConfig:  # noqa: ANN401 - AioConfig's own
    """A botocore configuration with our time-outs and retries and `pool` connections.

    The pool is hard and its queue has no limit: every client gets as many connections as it has
    users at once, so that a renewal never waits behind a long poll.
    """
    timeouts = {
        "connect_timeout": aws.connect_timeout_seconds,
        "read_timeout": aws.read_timeout_seconds,
    }
    return AioConfig(
        max_pool_connections=pool,
        retries={"mode": "standard", "total_max_attempts": aws.max_tries},
        user_agent_extra="asyncbuild",
        **timeouts | more,
    )


class Aws:
    """The service's own session and the clients made from it. One per process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        with errors_of("open an AWS session"):
            self._session = aioboto3.Session(
                region_name=settings.aws.region, profile_name=settings.aws.profile
            )

    @property
    def session(self) -> aioboto3.Session:
        """The session itself, for the credentials of the service's own account."""
        return self._session

    @property
    def region(self) -> str | None:
        """The region that calls go to."""
        return cast("str | None", self._session.region_name)

    @asynccontextmanager
    async def open_sqs(self, *, pool: int) -> "AsyncIterator[SQSClient]":
        """A client for SQS with `pool` connections.

        Raises:
            ConfigError: a queue's URL names another Region than calls go to.
        """
        queue = self._settings.queue
        for url in filter(None, (queue.url, queue.dead_letter_url)):
            if fault := region_fault(url, self.region):
                raise ConfigError(fault)
        async with self._open("sqs", self._settings.queue.endpoint_url, pool=pool) as client:
            yield client

    @asynccontextmanager
    async def open_s3(self, *, pool: int) -> "AsyncIterator[S3Client]":
        """A client for S3: payload signing and checksums as `[storage]` says."""
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
            yield client

    @asynccontextmanager
    async def open_codebuild(self, *, pool: int) -> "AsyncIterator[CodeBuildClient]":
        """A client for CodeBuild, whose calls end within `CODEBUILD_MOST_SECONDS`."""
        builds, aws = self._settings.builds, self._settings.aws
        most = CODEBUILD_MOST_SECONDS / aws.max_tries
        connect, read = aws.connect_timeout_seconds, aws.read_timeout_seconds
        more = {"connect_timeout": min(connect, most / 4), "read_timeout": min(read, most / 2)}
        async with self._open("codebuild", builds.endpoint_url, pool=pool, **more) as client:
            yield client

    @asynccontextmanager
    async def open_codepipeline(self, *, pool: int) -> "AsyncIterator[CodePipelineClient]":
        """A client for CodePipeline."""
        endpoint = self._settings.pipelines.endpoint_url
        async with self._open("codepipeline", endpoint, pool=pool) as client:
            yield client

    @asynccontextmanager
    async def open_secrets_manager(self, *, pool: int) -> "AsyncIterator[SecretsManagerClient]":
        """A client for Secrets Manager."""
        async with self._open("secretsmanager", None, pool=pool) as client:
            yield client

    @asynccontextmanager
    async def open_events(self, *, pool: int) -> "AsyncIterator[EventBridgeClient]":
        """A client for EventBridge, which only the probes use."""
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
