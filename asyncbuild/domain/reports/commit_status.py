"""Commit status: the state that a forge shows next to a commit, in words for all forges."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from asyncbuild.domain.results.build_result import BuildStatus


class StatusState(StrEnum):
    """State of a commit status, by the names of GitHub (REST API, "Commit statuses")."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    # No verdict about the commit: CodeBuild's fault, or the build was stopped, by a person or for a
    # newer push. A superseded build must not show its commit as passed, and pending has no end.
    ERROR = "error"

    @property
    def is_end(self) -> bool:
        """True if the build of that status has ended, or was skipped."""
        return self is not StatusState.PENDING


STATE_OF: Final = {
    BuildStatus.IN_PROGRESS: StatusState.PENDING,
    BuildStatus.SUCCEEDED: StatusState.SUCCESS,
    BuildStatus.FAILED: StatusState.FAILURE,
    BuildStatus.TIMED_OUT: StatusState.FAILURE,
    BuildStatus.FAULT: StatusState.ERROR,
    BuildStatus.STOPPED: StatusState.ERROR,
}


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """A commit status as it is posted.

    Attributes:
        state: Its state.
        context: Name under which the forge keeps one status for each commit.
        description: A few words, 140 characters at most (GitHub's limit, the smallest).
        target_url: Address that the forge links to; empty for none.
    """

    state: StatusState
    context: str
    description: str
    target_url: str = ""
