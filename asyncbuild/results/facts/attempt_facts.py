"""Facts about one attempt of a build, a batch or an execution, and what follows from them. Pure."""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from asyncbuild.domain.results.build_result import (
    BuildResult,
    BuildStatus,
    StartedId,
    StartedKind,
)

RETRY_SHOWS_WITHIN: Final = timedelta(minutes=5)
"""Time in which a failed build with retries left is expected to name its next attempt."""
GONE_AFTER: Final = timedelta(hours=48)
"""Longer than a build may wait and run: 8 and 36 hours (CodeBuild user guide, "Quotas")."""

_GONE: Final = "CodeBuild or CodePipeline does not know it any more"
_PROJECT: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}"
_NUMBER: Final = r"[A-Za-z0-9-]{1,64}"
_BUILD: Final = re.compile(
    rf"(?:arn:[a-z-]+:codebuild:[a-z0-9-]+:\d{{12}}:(?P<kind>build|build-batch)/)?"
    rf"(?P<name>{_PROJECT}):(?P<number>{_NUMBER})"
)
_PIPELINE: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9.@_-]{1,100}")
_EXECUTION: Final = re.compile(_NUMBER)


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One answer about an attempt.

    Attributes:
        result: Its state; `of` is the attempt itself, not the build that was started.
        previous: The attempt before it, if CodeBuild made this one as a retry.
        next: The attempt that CodeBuild made after it.
        retries_left: Number of further attempts that CodeBuild may make.
        batch: ARN of the batch that it is part of; empty if it is not.
    """

    result: BuildResult
    previous: StartedId | None = None
    next: StartedId | None = None
    retries_left: int = 0
    batch: str = ""

    def result_of(self, started: StartedId) -> BuildResult:
        """Return the state as that of the build that was started, which is the first attempt."""
        return replace(self.result, of=started)

    def may_be_retried(self, now: datetime) -> bool:
        """Return whether CodeBuild may still make an attempt after this one, which has ended."""
        if not self.result.status.is_failed or not self.retries_left or self.next is not None:
            return False
        ended = self.result.ended_at or self.result.observed_at
        return now - ended < RETRY_SHOWS_WITHIN


def result_of_gone(
    started: StartedId, known: BuildResult | None, *, started_at: datetime, now: datetime
) -> BuildResult:
    """Return the result of a build that its service has forgotten: a fault of its last attempt.

    Args:
        started: The build.
        known: Its last known state; None without one.
        started_at: When it was started.
        now: When it was not found.
    """
    last = known or BuildResult(
        started, BuildStatus.FAULT, now, attempt_id=started.id, started_at=started_at
    )
    return replace(last, status=BuildStatus.FAULT, observed_at=now, reason=_GONE)


def read_build_id(text: object) -> StartedId | None:
    """Return the build or batch that an ARN or an id `project:uuid` names; None for other texts.

    An id without an ARN is one of a build.
    """
    found = _BUILD.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    kind = StartedKind.BATCH if found["kind"] == "build-batch" else StartedKind.BUILD
    return StartedId(kind, found["name"], found["number"])


def read_execution_id(pipeline: object, number: object) -> StartedId | None:
    """Return the execution of a pipeline; None if one of the names is not legal."""
    if not isinstance(pipeline, str) or not isinstance(number, str):
        return None
    if not _PIPELINE.fullmatch(pipeline) or not _EXECUTION.fullmatch(number):
        return None
    return StartedId(StartedKind.EXECUTION, pipeline, number)
