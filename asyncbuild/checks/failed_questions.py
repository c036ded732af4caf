"""Findings about questions that AWS did not answer."""

from typing import Final

from asyncbuild.aws.error_codes import lacks_right
from asyncbuild.checks.judges.finding import Finding, FindingKind, Level
from asyncbuild.domain.errors import BadCredentials, Busy, Retry, StageError

# Error codes with which servers that only speak AWS's protocols refuse what they lack.
_UNKNOWN: Final = frozenset(
    {
        *("NotImplemented", "MethodNotAllowed", "501", "405"),
        *("UnknownOperationException", "UnsupportedOperation"),
    }
)
_AGAIN: Final = "see whether the endpoint can be reached from here, and run the check again"


def failed_finding(name: str, error: StageError) -> Finding:
    """Return the finding about a question that failed.

    Args:
        name: Name of the subject.
        error: How it failed.
    """
    kind = FindingKind.SETUP
    if lacks_right(error.code) or isinstance(error, BadCredentials):
        kind = FindingKind.RIGHTS
    elif isinstance(error, Retry | Busy):
        kind = FindingKind.REACH
    why = "the service needs it to work"
    if error.code in _UNKNOWN:
        why = "this server does not know the question, so nothing can be said of it"
        return Finding(Level.NOTE, name, error.reason, why, error.remedy)
    return Finding(Level.PROBLEM, name, error.reason, why, error.remedy or _AGAIN, kind)
