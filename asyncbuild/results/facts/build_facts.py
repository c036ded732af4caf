"""Parser of CodeBuild's answers about builds and batches (API reference, Build, BuildBatch). Pure.

CodeBuild times phases to the millisecond and adds up whole seconds; durations are taken from the
times. Messages of phases may quote a command of the buildspec.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from asyncbuild.domain.foreign_text import plain
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus, StartedId, StartedKind
from asyncbuild.results.facts.attempt_facts import AttemptFacts, read_build_id
from asyncbuild.results.facts.result_messages import BUILD_STATUSES

REASON_MOST: Final = 500  # characters of a phase's message that are kept
_LINK_MOST: Final = 2_000
_FAILING: Final = frozenset({"FAILED", "FAULT", "TIMED_OUT"})
_EXIT_CODE: Final = re.compile(r"exit status (\d{1,3})\s*\Z", re.ASCII)

Document = Mapping[str, Any]


def facts_of_build(build: Document, *, observed_at: datetime) -> AttemptFacts:
    """Return the facts in a build of BatchGetBuilds.

    Args:
        build: The build, as botocore returns it.
        observed_at: When it was asked for.

    Raises:
        KeyError, TypeError, ValueError: A field is missing, or is not what the model says.
    """
    of = read_build_id(build["id"])
    if of is None:
        raise ValueError(build["id"])
    status = BUILD_STATUSES[build["buildStatus"]]
    retry = build.get("autoRetryConfig") or {}
    made = int(retry.get("autoRetryNumber") or 0)
    result = _result(of, status, build, observed_at, attempt=made + 1)
    return AttemptFacts(
        result,
        previous=read_build_id(retry.get("previousAutoRetry")),
        next=read_build_id(retry.get("nextAutoRetry")),
        retries_left=max(0, int(retry.get("autoRetryLimit") or 0) - made),
        batch=str(build.get("buildBatchArn") or ""),
    )


def facts_of_batch(batch: Document, *, observed_at: datetime) -> AttemptFacts:
    """Return the facts in a batch of BatchGetBuildBatches.

    Args:
        batch: The batch, as botocore returns it.
        observed_at: When it was asked for.

    Raises:
        KeyError, TypeError, ValueError: As for `facts_of_build`.
    """
    found = read_build_id(batch["id"])
    if found is None:
        raise ValueError(batch["id"])
    of = StartedId(StartedKind.BATCH, found.name, found.number)
    status = BUILD_STATUSES[batch["buildBatchStatus"]]
    numbered = {**batch, "buildNumber": batch.get("buildBatchNumber")}
    return AttemptFacts(_result(of, status, numbered, observed_at, attempt=1))


def _result(
    of: StartedId, status: BuildStatus, build: Document, observed_at: datetime, *, attempt: int
) -> BuildResult:
    phases = build.get("phases") or []
    failed = _failed(phases) if status.is_failed else {}
    reason = _reason(failed)
    started, ended = _utc(build.get("startTime")), _utc(build.get("endTime"))
    queued, provisioning, building = _durations(phases, started, ended)
    number = build.get("buildNumber")
    exited = _EXIT_CODE.search(reason)
    return BuildResult(
        of=of,
        status=status,
        observed_at=observed_at,
        attempt=attempt,
        attempt_id=of.id,
        number=None if number is None else int(number),
        phase=plain(str(failed.get("phaseType", "")), 100),
        exit_code=int(exited[1]) if exited else None,
        reason=plain(reason, REASON_MOST),
        queued_seconds=queued,
        provisioning_seconds=provisioning,
        building_seconds=building,
        started_at=started,
        ended_at=ended if status.is_end else None,
        log_link=plain(str((build.get("logs") or {}).get("deepLink") or ""), _LINK_MOST),
        initiator=plain(str(build.get("initiator") or ""), 200),
    )


def _failed(phases: Sequence[Document]) -> Document:
    """Return the first phase that failed; an empty one if none did."""
    return next((each for each in phases if each.get("phaseStatus") in _FAILING), {})


def _reason(phase: Document) -> str:
    """Return the first message of a phase in one line; else its code; else nothing."""
    contexts = phase.get("contexts") or []
    told = [str(each.get("message") or each.get("statusCode") or "") for each in contexts]
    return " ".join(next(filter(None, told), "").split())


def _durations(
    phases: Sequence[Document], started: datetime | None, ended: datetime | None
) -> tuple[float | None, float | None, float | None]:
    """Return seconds queued, provisioning and building; None for a part that is not over."""
    provisioning = next((p for p in phases if p.get("phaseType") == "PROVISIONING"), None)
    if provisioning is None:  # it ended, or still is, in the queue; batches have no such phase
        queued = _between(started, ended) if phases else None
        return queued, None, None
    begun, ready = _utc(provisioning.get("startTime")), _utc(provisioning.get("endTime"))
    return _between(started, begun), _between(begun, ready), _between(ready, ended)


def _between(begin: datetime | None, end: datetime | None) -> float | None:
    if begin is None or end is None:
        return None
    return max(0.0, round((end - begin).total_seconds(), 3))


def _utc(time: object) -> datetime | None:
    if time is None:
        return None
    if not isinstance(time, datetime):
        raise TypeError(time)
    return time.astimezone(UTC)
