"""Reading of AWS's answers by `asyncbuild check`."""

from collections.abc import Awaitable

import pytest
from botocore import exceptions as boto

from asyncbuild.aws.classify import errors_of
from asyncbuild.checks.failed_questions import failed_finding
from asyncbuild.checks.judges.finding import FindingKind, Level
from asyncbuild.checks.trials import _answer
from asyncbuild.domain.errors import BadCredentials, Denied, NoPermission, Outage, Retry, StageError


def _refusal(code: str) -> boto.ClientError:
    return boto.ClientError({"Error": {"Code": code, "Message": "no"}}, "GetObject")


async def _answers(error: Exception | None) -> None:
    if error is not None:
        raise error


def _try(error: Exception | None) -> Awaitable[tuple[str, bool]]:
    return _answer("s3:GetObject", "the bucket", _answers(error))


@pytest.mark.parametrize(
    ("code", "denied"),
    [
        ("AccessDenied", True),
        ("AccessDeniedException", True),
        ("KMS.AccessDeniedException", True),
        ("403", True),
        ("NoSuchKey", False),
        ("ReceiptHandleIsInvalid", False),
        ("AWS.SimpleQueueService.NonExistentQueue", False),
        ("Unheard", False),
    ],
)
async def test_a_probe_reports_the_code_and_whether_a_right_is_missing(
    code: str, *, denied: bool
) -> None:
    """The code is as AWS spells it; another module judges it."""
    assert await _try(_refusal(code)) == (code, denied)


async def test_an_accepted_probe_has_no_code() -> None:
    """An answer without an error has no code."""
    assert await _try(None) == ("", False)


@pytest.mark.parametrize(
    ("error", "class_"),
    [
        (boto.EndpointConnectionError(endpoint_url="http://x"), Outage),
        (boto.NoCredentialsError(), BadCredentials),
        (_refusal(""), Retry),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_probe_without_a_code_says_nothing_of_rights(
    error: Exception, class_: type[StageError]
) -> None:
    """Above all it does not say that the call was allowed."""
    with pytest.raises(class_):
        await _try(error)


@pytest.mark.parametrize(
    ("error", "level", "kind"),
    [
        (NoPermission("no", code="AccessDenied"), Level.PROBLEM, FindingKind.RIGHTS),
        (Denied("no", code="AccessDeniedException"), Level.PROBLEM, FindingKind.RIGHTS),
        (Retry("a role of [[accounts]]", code="AccessDenied"), Level.PROBLEM, FindingKind.RIGHTS),
        (BadCredentials("none"), Level.PROBLEM, FindingKind.RIGHTS),
        (Retry("no", code="NoSuchKey"), Level.PROBLEM, FindingKind.REACH),
        (Outage("away"), Level.PROBLEM, FindingKind.REACH),
        (Outage("no", code="NotImplemented"), Level.NOTE, FindingKind.SETUP),
    ],
)
def test_a_question_that_fails_is_a_finding(
    error: StageError, level: Level, kind: FindingKind
) -> None:
    """A missing right is a finding, whichever part of the service it would stop."""
    found = failed_finding("bucket", error)
    assert (found.level, found.kind) == (level, kind)


def test_the_code_of_a_failed_question_is_kept() -> None:
    """The code goes from botocore's error to ours."""
    with pytest.raises(NoPermission) as caught, errors_of("read the lifecycle rules"):
        raise _refusal("AccessDenied")
    assert caught.value.code == "AccessDenied"
