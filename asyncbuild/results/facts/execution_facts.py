"""Parser of CodePipeline's answers about executions (API reference, PipelineExecution). Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from asyncbuild.domain.foreign_text import plain
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus, StartedId
from asyncbuild.results.facts.attempt_facts import AttemptFacts
from asyncbuild.results.facts.build_facts import REASON_MOST

_STATUSES: Final[Mapping[str, BuildStatus]] = {
    "InProgress": BuildStatus.IN_PROGRESS,
    "Stopping": BuildStatus.IN_PROGRESS,
    "Succeeded": BuildStatus.SUCCEEDED,
    "Failed": BuildStatus.FAILED,
    "Cancelled": BuildStatus.STOPPED,
    "Stopped": BuildStatus.STOPPED,
    "Superseded": BuildStatus.STOPPED,
}
_LINK_MOST: Final = 2_000

Document = Mapping[str, Any]


def facts_of_execution(
    of: StartedId,
    execution: Document,
    actions: Sequence[Document],
    *,
    observed_at: datetime,
) -> AttemptFacts:
    """Return the facts in an execution of GetPipelineExecution and its actions.

    Args:
        of: The execution.
        execution: The execution, as botocore returns it.
        actions: Its actions, as ListActionExecutions returns them; empty if they are not known.
        observed_at: When it was asked for.

    Raises:
        KeyError, TypeError, ValueError: A field is missing, or is not what the model says.
    """
    status = _STATUSES[execution["status"]]
    failed = _last_failed(actions) if status.is_failed else {}
    told = (failed.get("output") or {}).get("executionResult") or {}
    error = told.get("errorDetails") or {}
    reasons = (error.get("message"), told.get("externalExecutionSummary"))
    reason = next(filter(None, (*reasons, execution.get("statusSummary"))), "")
    begins = [_utc(each["startTime"]) for each in actions if each.get("startTime")]
    ends = [_utc(each["lastUpdateTime"]) for each in actions if each.get("lastUpdateTime")]
    result = BuildResult(
        of=of,
        status=status,
        observed_at=observed_at,
        attempt=_attempt(actions),
        attempt_id=of.id,
        phase=plain(f"{failed['stageName']}/{failed['actionName']}", 250) if failed else "",
        reason=plain(" ".join(str(reason).split()), REASON_MOST),
        started_at=min(begins, default=None),
        ended_at=max(ends, default=None) if status.is_end else None,
        log_link=plain(str(told.get("externalExecutionUrl") or ""), _LINK_MOST),
    )
    return AttemptFacts(result)


def _attempt(actions: Sequence[Document]) -> int:
    """Return the number of the attempt: one more than stages were tried again.

    A stage that is tried again runs its actions, or those that failed, again in the same execution
    (CodePipeline user guide, "Retry a failed stage"). Those that still run are not counted: the
    state is from before.
    """
    ended = Counter(
        (str(each.get("stageName")), each.get("actionName"))
        for each in actions
        if each.get("status") != "InProgress"
    )
    most: dict[str, int] = {}
    for (stage, _), number in ended.items():
        most[stage] = max(number, most.get(stage, 1))
    return 1 + sum(number - 1 for number in most.values())


def _last_failed(actions: Sequence[Document]) -> Document:
    """Return the action that failed last: a stage that failed may have been tried again."""
    failed = [each for each in actions if each.get("status") == "Failed"]
    return max(failed, key=lambda each: _utc(each["startTime"]), default={})


def _utc(time: object) -> datetime:
    if not isinstance(time, datetime):
        raise TypeError(time)
    return time.astimezone(UTC)
