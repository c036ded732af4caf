"""Each error code that AWS documents for the calls we make has a class chosen for it.

The codes come from botocore's models of the installed version, so that a new one is seen when
botocore is renewed. Those that no model has, because any operation may give them, are listed here.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as boto
from botocore import xform_name
from botocore.loaders import create_loader
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker
from support.stacks import ROOT

from asyncbuild.aws.classify import classify, errors_of
from asyncbuild.aws.error_codes import (
    _KMS,
    _OWN,
    FOR_PUSH,
    MEANINGS,
    REASONS,
    Instead,
    lacks_right,
    meaning_of,
)
from asyncbuild.domain.errors import (
    BadCredentials,
    Busy,
    ConfigError,
    Denied,
    Kind,
    NoPermission,
    Outage,
    Reject,
    Retry,
    Scope,
    StageError,
)
from asyncbuild.queue.sqs import LOST
from asyncbuild.storage.compose import SourceChanged, source_errors

# API references, "Common errors" (of any service), and codes of any AWS endpoint about a signature.
COMMON = """
    AccessDeniedException ExpiredTokenException IncompleteSignature InternalFailure
    InvalidClientTokenId InvalidSignatureException MissingAuthenticationToken NotAuthorized
    OptInRequired RequestAbortedException RequestExpired RequestInTheFuture RequestTimeoutException
    ServiceUnavailable SignatureDoesNotMatch ThrottlingException UnknownOperationException
    UnrecognizedClientException ValidationError
"""
# S3 API reference, "Error responses": codes about objects, uploads and buckets.
S3 = """
    AccessDenied AccountProblem AllAccessDisabled AuthorizationHeaderMalformed BadDigest
    ConditionalRequestConflict EntityTooLarge ExpiredToken IncompleteBody InternalError
    InvalidAccessKeyId InvalidArgument InvalidDigest InvalidObjectState InvalidPart InvalidPartOrder
    InvalidRange InvalidRequest InvalidToken KeyTooLongError MetadataTooLarge MethodNotAllowed
    NoSuchBucket NoSuchKey NoSuchLifecycleConfiguration NoSuchUpload NoSuchVersion NotImplemented
    NotSignedUp OperationAborted PermanentRedirect PreconditionFailed RequestTimeout
    RequestTimeTooSkewed ServiceUnavailable SlowDown TokenRefreshRequired XAmzContentSHA256Mismatch
    301 400 403 404 409 412 416 500 503
"""
# The older protocol's names of SQS, from the model that Smithy has of it (trait awsQueryError).
SQS = """
    AWS.SimpleQueueService.BatchEntryIdsNotDistinct AWS.SimpleQueueService.EmptyBatchRequest
    AWS.SimpleQueueService.InvalidBatchEntryId AWS.SimpleQueueService.MessageNotInflight
    AWS.SimpleQueueService.NonExistentQueue AWS.SimpleQueueService.QueueDeletedRecently
    AWS.SimpleQueueService.TooManyEntriesInBatchRequest AWS.SimpleQueueService.UnsupportedOperation
    KMS.AccessDeniedException KMS.DisabledException KMS.InvalidKeyUsageException
    KMS.InvalidStateException KMS.NotFoundException KMS.OptInRequired KMS.ThrottlingException
    InvalidAddress InvalidSecurity OverLimit QueueAlreadyExists ReceiptHandleIsInvalid
    RequestThrottled
"""
# Operations of KMS that S3 and SQS call for us.
KMS_OPERATIONS = frozenset({"GenerateDataKey", "Decrypt", "Encrypt", "DescribeKey"})
# Codes of KMS about requests that only another caller can send.
KMS_OTHERS = {
    "DryRunOperationException",
    "IncorrectKeyException",
    "InvalidCiphertextException",
    "InvalidGrantTokenException",
}


@cache
def _model(service: str) -> Mapping[str, Any]:
    model: Mapping[str, Any] = create_loader().load_service_model(service, "service-2")
    return model


def _codes(service: str, operations: frozenset[str]) -> Iterator[str]:
    model = _model(service)
    for name in operations & model["operations"].keys():
        for error in model["operations"][name].get("errors", ()):
            shape = error["shape"]
            yield model["shapes"][shape].get("error", {}).get("code", shape)


def _sources() -> Iterator[ast.AST]:
    for path in sorted(Path(ROOT, "asyncbuild").rglob("*.py")):
        if "local" not in path.parts:
            yield from ast.walk(ast.parse(path.read_text()))


@cache
def _services() -> frozenset[str]:
    """The services for which a client is opened anywhere."""
    calls = [node for node in _sources() if isinstance(node, ast.Call)]
    opened = {
        node.args[0].value
        for node in calls
        if isinstance(node.func, ast.Attribute)
        and node.func.attr in {"_open", "client", "create_client"}
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    }
    return frozenset(opened & set(create_loader().list_available_services("service-2")))


@cache
def _operations(service: str) -> frozenset[str]:
    """Return a service's operations whose method name is an attribute in the sources."""
    named = {node.attr for node in _sources() if isinstance(node, ast.Attribute)}
    found = {name for name in _model(service)["operations"] if xform_name(name) in named}
    # aiobotocore's fetcher calls it for us (`aws/accounts.py`).
    return frozenset(found | ({"AssumeRole"} if service == "sts" else set()))


def _error(code: str, status: int = 400, operation: str = "SendMessage") -> boto.ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": "because"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return boto.ClientError(answer, operation)


def test_the_sources_call_some_services() -> None:
    """At least these services are found; otherwise the tests below would compare nothing."""
    builds = {"codebuild", "codecommit", "codepipeline"}
    assert _services() == builds | {"events", "s3", "secretsmanager", "sqs", "sts"}
    assert {"ReceiveMessage", "SendMessage", "DeleteMessage"} <= _operations("sqs")
    assert {"UploadPartCopy", "HeadObject", "CopyObject"} <= _operations("s3")
    assert {"StartBuild", "BatchGetBuilds"} <= _operations("codebuild")
    assert _operations("sts") == {"AssumeRole", "GetCallerIdentity"}


@pytest.mark.parametrize("service", sorted(_services()))
def test_every_code_of_an_operation_we_call_is_classified(service: str) -> None:
    """No such code falls back to the class of unknown codes."""
    codes = set(_codes(service, _operations(service)))
    assert {code for code in codes if meaning_of(code) is None} == set()


def test_every_kms_code_is_classified() -> None:
    """S3 and SQS report an error of KMS as `KMS.` and its code."""
    codes = set(_codes("kms", KMS_OPERATIONS)) - KMS_OTHERS
    assert len(codes) > 5
    assert {code for code in codes if meaning_of(f"KMS.{code}") is None} == set()


@pytest.mark.parametrize("code", sorted({*COMMON.split(), *S3.split(), *SQS.split()}))
def test_every_documented_code_is_classified(code: str) -> None:
    """Codes that occur in no model are listed by hand."""
    assert meaning_of(code) is not None


def test_both_names_of_a_code_mean_the_same() -> None:
    """SQS answers with one name; botocore replaces it by the other where the header has it."""
    pairs = {
        "AWS.SimpleQueueService.NonExistentQueue": "QueueDoesNotExist",
        "AWS.SimpleQueueService.QueueDeletedRecently": "QueueDeletedRecently",
        "AWS.SimpleQueueService.MessageNotInflight": "MessageNotInflight",
        "QueueAlreadyExists": "QueueNameExists",
        "com.amazonaws.sqs#RequestThrottled": "RequestThrottled",
        "KMS.AccessDeniedException": "KmsAccessDenied",
        "KMS.DisabledException": "KmsDisabled",
        "KMS.InvalidKeyUsageException": "KmsInvalidKeyUsage",
        "KMS.InvalidStateException": "KmsInvalidState",
        "KMS.NotFoundException": "KmsNotFound",
        "KMS.OptInRequired": "KmsOptInRequired",
        "KMS.ThrottlingException": "KmsThrottled",
    }
    for old, new in pairs.items():
        assert meaning_of(old) is meaning_of(new) is not None, old


def test_every_code_about_a_receipt_handle_is_a_lost_lease() -> None:
    """The codes are those that SQS's own model lists for calls with a receipt handle."""
    model = _model("sqs")
    errors = [
        error["shape"]
        for operation in ("DeleteMessage", "ChangeMessageVisibility")
        for error in model["operations"][operation]["errors"]
    ]
    about = {
        shape
        for shape in errors
        if re.search("receipt handle|in flight", model["shapes"][shape].get("documentation", ""))
    }
    assert len(about) > 2
    assert about <= LOST
    assert {each for each in SQS.split() if each.endswith(tuple(about))} <= LOST


def test_codes_that_botocore_retries_count_no_attempt() -> None:
    """A code that botocore retries by itself is not the push's fault."""
    throttles: Any = ThrottledRetryableChecker
    passing: Any = TransientRetryableChecker
    codes = [*throttles._THROTTLED_ERROR_CODES, *passing._TRANSIENT_ERROR_CODES]
    assert len(codes) > 10
    for code in codes:
        assert issubclass(MEANINGS[code], Busy), code


def test_no_code_has_two_classes() -> None:
    """The table is joined from parts; a later part must not hide an entry of an earlier one."""
    own = [code for codes in _OWN.values() for code in codes]
    assert len(own) == len(set(own))
    kms = [code for codes in _KMS.values() for code in codes]
    assert len(kms) == len(set(kms))


def test_a_class_that_the_name_does_not_suggest_has_a_reason() -> None:
    """A code whose name suggests another class, or none, has its reason in the table."""
    plain: dict[type[StageError], str] = {
        Busy: "Throttl|Throughput|Limit|TooMany",
        Outage: "Internal|Unavailable|Timeout|Aborted|InTheFuture|PriorRe|InProgress|^5..$",
        BadCredentials: "Token|KeyId|AuthFailure",
        NoPermission: "Denied|Auth|Unauthorized|Account|AllAccess|SignedUp|^401$",
        ConfigError: "NoSuchBucket|DoesNotExist|Disabled|NotFound",
        Reject: "Invalid|TooLong|TooLarge|Validation|Malformed|NotFound|Unknown|Unsupported|Batch"
        "|Already|Exists|NotAllowed|ManagedRule",
        Retry: "Concurrent|Digest|Incomplete|PartOrder",
    }
    for code, class_ in MEANINGS.items():
        if not re.search(plain[class_], code):
            assert REASONS.get(code), f"{code} is {class_.__name__}: why?"


@pytest.mark.parametrize(
    ("code", "status", "class_"),
    [
        ("InvalidSignatureException", 400, Outage),
        ("RequestExpired", 400, Outage),
        ("RequestInTheFuture", 403, Outage),
        ("RequestTimeTooSkewed", 403, Outage),
        ("KMS.ThrottlingException", 400, Busy),
        ("KMS.AccessDeniedException", 400, NoPermission),
        ("KMS.DisabledException", 400, ConfigError),
        ("EncryptionKeyDisabledException", 400, Retry),
        ("ExpiredToken", 400, BadCredentials),
        ("ExpiredTokenException", 403, BadCredentials),
        ("UnrecognizedClientException", 400, BadCredentials),
        ("NotImplemented", 501, Reject),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, ConfigError),
        ("Unheard", 400, Retry),
        ("Unheard", 429, Busy),
        ("Unheard", 503, Outage),
    ],
)
def test_an_answer_becomes_the_class_of_its_code(
    code: str, status: int, class_: type[StageError]
) -> None:
    """Unknown codes are classified by HTTP status; the text contains the code and the message."""
    error = classify(_error(code, status), "start a build of project web")
    assert type(error) is class_
    assert error.reason == f"start a build of project web: {code}: because"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("InvalidSignatureException", "clock"),
        ("RequestTimeTooSkewed", "clock"),
        ("ExpiredToken", "log in again"),
        ("AccessDenied", "allow SendMessage"),
        ("KMS.AccessDeniedException", "allow SendMessage"),
        ("KmsDisabled", "KMS key"),
        ("PermanentRedirect", "aws.region"),
        ("NoSuchBucket", "correct its name"),
    ],
)
def test_a_remedy_fits_the_code(code: str, words: str) -> None:
    """Remedies differ by code where the class is the same."""
    assert words in classify(_error(code), "x").remedy


@pytest.mark.parametrize(
    "error",
    [
        boto.NoCredentialsError(),
        boto.PartialCredentialsError(provider="env", cred_var="secret"),
        boto.CredentialRetrievalError(provider="container-role", error_msg="no answer"),
        boto.MetadataRetrievalError(error_msg="no answer"),
        boto.TokenRetrievalError(provider="sso", error_msg="no token"),
        boto.UnauthorizedSSOTokenError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_missing_credentials_are_the_services_fault(error: Exception) -> None:
    """No push counts an attempt.

    A command that cannot begin exits with the code for permissions.
    """
    fault = classify(error, "x")
    assert type(fault) is BadCredentials
    assert (fault.kind, fault.exit_code) == ("outage", 77)


# Kind and scope of each class, for the service's own calls and for calls about one push.
_SERVICE: Mapping[type[StageError], tuple[Kind, Scope]] = {
    Busy: (Kind.BUSY, Scope.PUSH),
    Outage: (Kind.OUTAGE, Scope.PUSH),
    BadCredentials: (Kind.OUTAGE, Scope.PUSH),
    NoPermission: (Kind.FATAL, Scope.SERVICE),
    ConfigError: (Kind.FATAL, Scope.SERVICE),
    Reject: (Kind.REJECT, Scope.PUSH),
    Retry: (Kind.RETRY, Scope.PUSH),
}
_PUSH = {**_SERVICE, NoPermission: (Kind.RETRY, Scope.PUSH)}


@pytest.mark.parametrize("code", [*MEANINGS, "AWS.SimpleQueueService.NonExistentQueue"])
@pytest.mark.parametrize(("instead", "meant"), [({}, _SERVICE), (FOR_PUSH, _PUSH)])
def test_each_code_has_a_kind_and_a_scope(
    code: str, instead: Instead, meant: Mapping[type[StageError], tuple[Kind, Scope]]
) -> None:
    """The code stays as AWS spells it; the remedy belongs to the code, whatever the scope."""
    class_ = meaning_of(code)
    assert class_ is not None
    error = classify(_error(code), "x", instead)
    assert (error.kind, error.scope, error.code) == (*meant[class_], code)
    assert error.remedy == classify(_error(code), "x").remedy
    assert lacks_right(error.code) == (class_ is NoPermission)


def test_a_missing_right_of_one_push_is_retried_with_longer_pauses() -> None:
    """A changed policy takes a while to take effect everywhere."""
    assert type(classify(_error("AccessDenied"), "x", FOR_PUSH)) is Denied


@pytest.mark.parametrize(
    ("error", "instead", "class_", "code"),
    [
        (_error(""), {}, Retry, None),
        (_error("Unheard"), FOR_PUSH, Retry, "Unheard"),
        (_error("404", operation="HeadBucket"), FOR_PUSH, ConfigError, "404"),
        (boto.ParamValidationError(report="no"), {}, Reject, None),
        (boto.ParamValidationError(report="no"), {Reject: Retry}, Retry, None),
        (boto.EndpointConnectionError(endpoint_url="http://x"), {Reject: Retry}, Outage, None),
        (_error("InvalidInputException"), {Reject: Retry}, Retry, "InvalidInputException"),
        (OSError("away"), FOR_PUSH, Outage, None),
        (ValueError("odd"), FOR_PUSH, Retry, None),
    ],
    ids=str,
)
def test_an_error_without_a_code_has_none(
    error: Exception, instead: Instead, class_: type[StageError], code: str | None
) -> None:
    """Errors that did not come from AWS have no code; a replaced class keeps that."""
    with pytest.raises(class_) as caught, errors_of("x", "s3", instead):
        raise error
    assert (type(caught.value), caught.value.code, caught.value.peer) == (class_, code, "s3")


@pytest.mark.parametrize("code", MEANINGS)
def test_a_copy_source_that_cannot_be_read_has_changed(code: str) -> None:
    """Deleted, overwritten, unreadable, or on a server without copies.

    Any other error is not a change.
    """
    gone = {
        *("PreconditionFailed", "NoSuchKey", "NoSuchVersion", "InvalidRange", "404", "412", "416"),
        *("InvalidObjectState", "ObjectNotInActiveTierError", "NotImplemented", "MethodNotAllowed"),
    }
    with pytest.raises(StageError) as caught, source_errors("copy"):
        raise _error(code, operation="UploadPartCopy")
    changed = code in gone or MEANINGS[code] is NoPermission
    assert type(caught.value) is (SourceChanged if changed else MEANINGS[code])
    assert caught.value.code == code
