"""End of a build, and its place among the ends of one ref and project."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from asyncbuild.domain.foreign_text import plain
from asyncbuild.domain.results.build_result import BuildResult, BuildStatus, StartedId
from asyncbuild.domain.results.console_links import result_link
from asyncbuild.domain.results.started_build import StartedBuild

LINK_MOST: Final = 1_000  # characters
# Clocks of a forge's servers differ, and CodeCommit tells whole seconds: between pushes that are
# this close, the one that names the other's commit as its old one follows it, as for heads.
_CLOSE: Final = timedelta(minutes=1)


class EndVerdict(StrEnum):
    """EndVerdict of a build about its commit."""

    PASSED = "passed"
    FAILED = "failed"
    NONE = "none"  # a fault of CodeBuild, or a build that was stopped


_VERDICTS: Final = {
    BuildStatus.SUCCEEDED: EndVerdict.PASSED,
    BuildStatus.FAILED: EndVerdict.FAILED,
    BuildStatus.TIMED_OUT: EndVerdict.FAILED,
}


@dataclass(frozen=True, slots=True)
class BuildEnd:
    """End of one attempt of a build, batch or execution.

    Attributes:
        of: The build that the push started.
        attempt: Number of the attempt, from 1.
        status: How it ended.
        event_id: Id of the push.
        pushed_at: When the commit was pushed.
        commit: The commit that was built.
        old_commit: Commit of the ref before the push; empty if it is not known.
        began_at: When the attempt began.
        observed_at: When the service of the build was asked.
        ended_at: When the attempt ended; None while unknown.
        link: Address of the build in the console; empty if it was not at AWS.
        beside_order: Whether it was asked for beside the order of the ref.
    """

    of: StartedId
    attempt: int
    status: BuildStatus
    event_id: str
    pushed_at: datetime
    commit: str
    old_commit: str
    began_at: datetime
    observed_at: datetime
    ended_at: datetime | None = None
    link: str = ""
    beside_order: bool = False

    @property
    def verdict(self) -> EndVerdict:
        """EndVerdict about the commit."""
        return _VERDICTS.get(self.status, EndVerdict.NONE)

    def is_same(self, other: "BuildEnd") -> bool:
        """Return whether both tell the same end, whenever it was observed."""
        mine, theirs = (self.of, self.attempt, self.status), (other.of, other.attempt, other.status)
        return mine == theirs


def end_of(started: StartedBuild, result: BuildResult) -> BuildEnd:
    """Return the end that a result tells.

    Args:
        started: The build, as the index of starts has it.
        result: Its newest attempt, which has ended.
    """
    return BuildEnd(
        of=started.of,
        attempt=result.attempt,
        status=result.status,
        event_id=started.event_id,
        pushed_at=started.pushed_at,
        commit=started.commit,
        old_commit=started.old_commit,
        began_at=result.started_at or started.started_at,
        observed_at=result.observed_at,
        ended_at=result.ended_at,
        link=plain(result_link(started.of, started.arn, result), LINK_MOST),
        beside_order=started.beside_order,
    )


def is_later(end: BuildEnd, known: BuildEnd) -> bool:
    """Return whether the push of `end` came after that of `known`; of one push, the attempt.

    The newest push owns its ref, as for heads (`next_head` in `builds/ledger_records.py`) and for
    commit statuses. Ends come in any order, so the rule must not depend on theirs.
    """
    if end.event_id == known.event_id:
        return _attempt_of(end) > _attempt_of(known)
    if abs(end.pushed_at - known.pushed_at) <= _CLOSE:
        follows, precedes = _follows(end, known), _follows(known, end)
        if follows is not precedes:  # neither is told by A, B, A pushed by force
            return follows
    return (end.pushed_at, end.event_id) > (known.pushed_at, known.event_id)


def _follows(end: BuildEnd, known: BuildEnd) -> bool:
    return bool(end.old_commit) and end.old_commit == known.commit


def _attempt_of(end: BuildEnd) -> tuple[datetime, int, datetime]:
    """Return the place among the attempts of one push, which may have been built twice."""
    return end.began_at, end.attempt, end.observed_at
