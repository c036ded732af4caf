"""Classes of botocore's errors. They become errors of stages here and nowhere else."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Final

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from asyncbuild.aws.error_codes import FOR_PUSH, Instead, meaning_instead, meaning_of, name_of
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
# Words of OpenSSL for an answer that is not a TLS record, in its versions 1.1 to 3.5.
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
# Credentials that could not be read, obtained or renewed.
_NO_CREDENTIALS: Final = (
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.SSOError,
    boto.TokenRetrievalError,
)


def classify(error: Exception, doing: str, instead: Instead = _AS_USUAL) -> StageError:
    """Return a botocore error as an error of stages, with AWS's code.

    Args:
        error: Error that botocore raised.
        doing: The call, for people.
        instead: Meanings of codes or classes that differ for this call.
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
    # All other errors of botocore are about the connection: refused, timed out, cut off.
    return unreached(doing, error)


def _classify_answer(error: boto.ClientError, doing: str, instead: Instead) -> StageError:
    answer = error.response.get("Error", {})
    code = str(answer.get("Code", ""))  # where an answer has none, botocore takes the HTTP status
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"{doing}: {code}: {answer.get('Message', '')}".rstrip(": ")
    class_ = meaning_of(code) or _class_by_status(status)
    if code == "404" and error.operation_name == "HeadBucket":  # no body, hence no code
        class_ = ConfigError
    remedy = _remedy(class_, code, error.operation_name)
    return meaning_instead(code, class_, instead)(text, remedy=remedy, code=code or None)


def _class_by_status(status: int) -> type[StageError]:
    """Return the class of an unknown code, by HTTP status (RFC 9110, section 15; RFC 6585)."""
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
    """Return the error for a call of `peer` that got no answer.

    Args:
        doing: The call, for people.
        error: Error of the connection.
        peer: The service that was called; empty if it is not known.
    """
    no_tls = any(word in str(error) for word in _NO_TLS)
    return Outage(
        f"{doing}: {type(error).__name__}: {error}",
        remedy=_PLAIN if no_tls else _WAY_THERE,
        peer=peer,
    )


@contextmanager
def errors_of(doing: str, peer: str = "", instead: Instead = _AS_USUAL) -> Iterator[None]:
    """Turn botocore's errors inside into errors of stages.

    Args:
        doing: The call, for people, such as `start build of project web`.
        peer: The service that is called: shown as not reachable, or at its limit.
        instead: Meanings of codes or classes that differ for this call.
    """
    try:
        yield
    except (boto.ClientError, boto.BotoCoreError, boto.HTTPClientError) as error:
        ours = classify(error, doing, instead)
        ours.peer = peer
        raise ours from error
    except OSError as error:
        raise unreached(doing, error, peer) from error
    except (ResponseParserError, ValueError, RecursionError) as error:  # from the answer's reader
        text = f"{doing}: the answer cannot be read: {type(error).__name__}"
        raise Retry(text, peer=peer) from error


# Short forms for the files that call one service only.
s3_errors = partial(errors_of, peer="s3")
sqs_errors = partial(errors_of, peer="sqs")
# One project or pipeline that the role may not start must not end the service for all others.
codebuild_errors = partial(errors_of, peer="codebuild", instead=FOR_PUSH)
codepipeline_errors = partial(errors_of, peer="codepipeline", instead=FOR_PUSH)
