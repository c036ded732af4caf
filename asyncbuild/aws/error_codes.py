"""Classes of AWS's error codes. Pure.

Sources: botocore's service models (the errors of each operation), the API references' pages "Common
errors" and S3's "Error responses", botocore's own lists of what is throttled or transient. Where a
class is not obvious, the code's text says why. `tests/unit/aws/test_error_codes.py` takes every
code of the operations that are called from botocore's models, and finds each of them here.

SQS has two names for some codes: its model's (`KmsThrottled`) and the one of its older protocol
(`KMS.ThrottlingException`, `AWS.SimpleQueueService.NonExistentQueue`), which botocore takes from
the header `x-amzn-query-error` of an answer. Both are found.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from asyncbuild.domain.errors import (
    BadCredentials,
    Busy,
    ConfigError,
    Denied,
    NoPermission,
    Outage,
    Reject,
    Retry,
    StageError,
)

Class = type[StageError]
Instead = Mapping[str | Class, Class]
"""Meanings of codes, or of classes of codes, that differ for one kind of call."""

_QUEUE: Final = "AWS.SimpleQueueService."

# Names of SQS's older protocol that are not `AWS.SimpleQueueService.` and the name of the model.
_OTHER_NAMES: Final[Mapping[str, str]] = {
    "NonExistentQueue": "QueueDoesNotExist",
    "QueueAlreadyExists": "QueueNameExists",
}

# Codes of KMS under KMS's own names. SQS and S3 pass them on as `KMS.` and the code.
_KMS: Final[Mapping[Class, Mapping[str, str]]] = {
    Busy: {
        "ThrottlingException": "all objects and messages of an account share the key's requests",
        "LimitExceededException": "",
    },
    Outage: {
        "DependencyTimeoutException": "",
        "InternalException": "",
        "KMSInternalException": "",
        "KeyUnavailableException": "the API reference says to retry",
    },
    NoPermission: {
        "AccessDeniedException": "the task's role, or the key's own policy",
        "OptInRequired": "the account is not signed up for KMS",
    },
    # No push is at fault, and none can be stored before the key is mended.
    ConfigError: {
        "DisabledException": "",
        "InvalidArnException": "storage.kms_key_id is not one",
        "InvalidKeyUsageException": "a key for signatures, or an asymmetric one",
        "InvalidStateException": "such as: it waits to be deleted",
        "KMSInvalidStateException": "S3's spelling of it",
        "NotFoundException": "",
    },
}

_OWN: Final[Mapping[Class, Mapping[str, str]]] = {
    Busy: {
        "AccountLimitExceededException": "CodeBuild: builds running; counts as nothing (I5)",
        "BandwidthLimitExceeded": "",
        "ConcurrentPipelineExecutionsLimitExceededException": "executions running",
        "ConflictException": "CodePipeline: the API reference says to try again later",
        "EC2ThrottledException": "",
        "LimitExceededException": "botocore, too, takes it for a throttle",
        "OverLimit": "SQS: 120,000 messages in flight",
        "ProvisionedThroughputExceededException": "",
        "RequestLimitExceeded": "",
        "RequestThrottled": "SQS, with status 403",
        "RequestThrottledException": "",
        "SlowDown": "S3, with status 503",
        "Throttling": "",
        "ThrottledException": "",
        "ThrottlingException": "",
        "TooManyRequestsException": "",
        "KmsThrottled": _KMS[Busy]["ThrottlingException"],
    },
    Outage: {
        "EncryptionKeyUnavailableException": "CodeCommit",
        "InternalError": "S3, with status 500; also inside an answer of status 200",
        "InternalException": "",
        "InternalFailure": "",
        "InternalServerError": "",
        "InternalServiceError": "",
        # A clock is wrong, AWS's or this machine's. No push is at fault, and it passes.
        "InvalidSignatureException": "signed too long ago, or in the future; or the secret key is "
        "wrong. SQS, CodeBuild and others allow 5 minutes",
        "PriorRequestNotComplete": "",
        "RequestAbortedException": "",
        "RequestExpired": "signed more than 15 minutes ago, or in the future",
        "RequestInTheFuture": "",
        "RequestTimeTooSkewed": "S3 allows 15 minutes",
        "RequestTimeout": "S3, with status 400",
        "RequestTimeoutException": "",
        "ServiceUnavailable": "",
        "ServiceUnavailableException": "",
        "TransactionInProgressException": "",
        "503": "",
        "500": "",
    },
    # No push is at fault if the service's own credentials are bad; new ones may arrive at any
    # moment.
    BadCredentials: {
        "AuthFailure": "",
        "ExpiredToken": "",
        "ExpiredTokenException": "",
        "InvalidAccessKeyId": "",
        "InvalidClientTokenId": "",
        "InvalidIdentityToken": "",
        "InvalidToken": "S3's word for a session token that is damaged",
        "SignatureDoesNotMatch": "the secret key is wrong; S3's word for a clock is another",
        "TokenRefreshRequired": "",
        "UnrecognizedClientException": "AWS does not know the access key or the session token",
    },
    NoPermission: {
        "AccessDenied": "",
        "AccessDeniedException": "",
        "AccountProblem": "",
        "AllAccessDisabled": "",
        "AuthorizationError": "",
        "EncryptionKeyAccessDeniedException": "CodeCommit: the key of a repository",
        "IncompleteSignature": "not signed as AWS wants it",
        "MissingAuthenticationToken": "not signed at all",
        "NotAuthorized": "",
        "NotSignedUp": "",
        "OptInRequired": "the account is not signed up for the service",
        "RegionDisabledException": "STS is switched off in that region",
        "UnauthorizedOperation": "",
        "KmsAccessDenied": _KMS[NoPermission]["AccessDeniedException"],
        "KmsOptInRequired": _KMS[NoPermission]["OptInRequired"],
        "401": "",
        "403": "HeadObject has no body, hence no code",
    },
    ConfigError: {
        "InvalidAddress": "SQS: the queue's URL is not one",
        "InvalidSecurity": "SQS: not HTTPS, or not signature version 4",
        "NoSuchBucket": "",
        "QueueDoesNotExist": "",
        "AuthorizationHeaderMalformed": "S3: signed for another region",
        "PermanentRedirect": "S3: the bucket is in another region",
        "301": "as PermanentRedirect",
        "DecryptionFailure": "Secrets Manager: the key of a secret",
        **{
            f"Kms{code.removesuffix('Exception')}": why
            for code, why in _KMS[ConfigError].items()
            if not code.startswith("KMS")
        },
    },
    # The same request would be refused again.
    Reject: {
        "BatchEntryIdsNotDistinct": "",
        "BatchRequestTooLong": "SQS: the messages of one call together",
        "BucketAlreadyExists": "",
        "BucketAlreadyOwnedByYou": "",
        "EmptyBatchRequest": "",
        "EntityTooLarge": "",
        "InvalidAttributeName": "",
        "InvalidAttributeValue": "",
        "InvalidBatchEntryId": "",
        "InvalidEventPatternException": "",
        "InvalidInputException": "CodeBuild; `builds/codebuild.py` looks for a build first",
        "InvalidMessageContents": "SQS: characters that no message may have",
        "InvalidObjectState": "S3: it was moved to an archive class; the full way reads none",
        "InvalidOrderException": "",
        "InvalidParameterException": "",
        "InvalidRepositoryNameException": "",
        "InvalidRequestException": "Secrets Manager: the secret waits to be deleted",
        "InvalidSortByException": "",
        "KeyTooLongError": "",
        "MalformedPolicyDocument": "",
        "ManagedRuleException": "",
        "MetadataTooLarge": "",
        "MethodNotAllowed": "",
        "NotImplemented": "with status 501; some S3 servers lack what we ask for, and always will",
        "ObjectNotInActiveTierError": "S3: as InvalidObjectState",
        "PackedPolicyTooLarge": "",
        "PipelineNotFoundException": "",
        "QueueNameExists": "",
        "RepositoryDoesNotExistException": "CodeCommit: it was deleted, or renamed",
        "RepositoryNameRequiredException": "CodeCommit: not asked without a name",
        "ResourceNotFoundException": "CodeBuild: no such project",
        "TooManyEntriesInBatchRequest": "",
        "UnknownOperationException": "",
        "UnsupportedOperation": "",
        "405": "as MethodNotAllowed",
        "501": "as NotImplemented",
        "ValidationError": "",
        "ValidationException": "",
    },
    # Another try may work, as it begins elsewhere; or a caller knows better what the code means.
    Retry: {
        "BadDigest": "damaged on the way",
        "ConcurrentModificationException": "",
        "ConditionalRequestConflict": "two writers at once; `storage/s3.py` asks again",
        "DuplicatedStopRequestException": "CodePipeline: it is stopping already",
        # The key of one repository must not end the service.
        "EncryptionIntegrityChecksFailedException": "CodeCommit",
        "EncryptionKeyDisabledException": "CodeCommit: only this repository is concerned",
        "EncryptionKeyNotFoundException": "CodeCommit: only this repository is concerned",
        "EncryptionTypeMismatch": "only of appends, which are not made",
        "IncompleteBody": "",
        "InvalidArgument": "S3 says it of settings, too: tried, so that a mended one is seen",
        "InvalidContinuationTokenException": "CodeCommit: as InvalidNextTokenException",
        "InvalidDigest": "",
        "InvalidIdFormat": "SQS: as ReceiptHandleIsInvalid",
        "InvalidNextTokenException": "a list's next page was asked for too late: it begins again",
        "InvalidParameterValue": "SQS: a receipt handle of another delivery (`queue/sqs.py`), or a "
        "message that is too long",
        "InvalidPart": "the upload begins again with the push",
        "InvalidPartOrder": "",
        "InvalidRange": "S3: the object is another one; the delta way falls back",
        "InvalidRequest": "S3 says it also of a range that cannot be copied",
        "InvalidWriteOffset": "only of appends, which are not made",
        "MessageNotInflight": "the lease is over (`queue/sqs.py`)",
        "NoSuchKey": "callers know what a missing object means",
        "NoSuchLifecycleConfiguration": "an answer to a question of `check`",
        "NoSuchUpload": "aborted or completed before: begins again with the push",
        "NoSuchVersion": "as NoSuchKey",
        "OperationAborted": "S3: another change of the same thing is on its way",
        "PipelineExecutionNotFoundException": "it was listed, and is gone since",
        "PipelineExecutionNotStoppableException": "it has ended, or cannot be stopped just now",
        "PipelineVersionNotFoundException": "the pipeline was changed since",
        "QueueDeletedRecently": "SQS: a queue of this name cannot be made for 60 seconds",
        "PreconditionFailed": "callers know what another object means",
        "ReceiptHandleIsInvalid": "the lease is over (`queue/sqs.py`)",
        "TooManyParts": "only of appends, which are not made",
        "XAmzContentSHA256Mismatch": "damaged on the way",
        "400": "HeadObject has no body: `storage/ranges.py` asks with GetObject, which has one",
        "404": "as NoSuchKey",
        "409": "as ConditionalRequestConflict",
        "412": "as PreconditionFailed",
        "416": "as InvalidRange",
    },
}


def _iter_all() -> Iterator[tuple[str, Class, str]]:
    for class_, codes in _OWN.items():
        for code, why in codes.items():
            yield code, class_, why
    for class_, codes in _KMS.items():
        for code, why in codes.items():
            yield f"KMS.{code}", class_, why


MEANINGS: Final[Mapping[str, Class]] = {code: class_ for code, class_, _ in _iter_all()}
REASONS: Final[Mapping[str, str]] = {code: why for code, _, why in _iter_all() if why}


FOR_PUSH: Final[Instead] = {NoPermission: Denied}
"""Meanings for calls that one push asks for: a missing right there fails only the push."""


def name_of(code: str) -> str:
    """Return the name under which a code is listed here, whichever of its names an answer has.

    `AWS.SimpleQueueService.NonExistentQueue` is `QueueDoesNotExist`; a namespace before a `#`, as
    in the protocol's `com.amazonaws.sqs#QueueDoesNotExist`, is left out.
    """
    short = code.rpartition("#")[2].removeprefix(_QUEUE)
    return _OTHER_NAMES.get(short, short)


def meaning_of(code: str) -> Class | None:
    """Return the class of error that a code means; None for an unknown code."""
    return MEANINGS.get(name_of(code))


def meaning_instead(code: str, class_: Class, instead: Instead) -> Class:
    """Return the class of error for one kind of call: by the code, or else by its usual class.

    Args:
        code: Code of AWS, under any of its names.
        class_: The usual class of the code.
        instead: Meanings that differ for this kind of call.
    """
    return instead.get(name_of(code)) or instead.get(class_, class_)


def lacks_right(code: str | None) -> bool:
    """Return whether a code says that a right is missing, for a push or for the whole service."""
    return code is not None and meaning_of(code) is NoPermission
