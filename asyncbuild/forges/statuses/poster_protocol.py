"""Protocol of the posters of commit statuses, and the commit that a status is posted to."""

from dataclasses import dataclass
from typing import Protocol

from asyncbuild.domain.reports.commit_status import CommitStatus
from asyncbuild.domain.repository import Repository


@dataclass(frozen=True, slots=True)
class StatusPlace:
    """Commit that a status is posted to.

    Attributes:
        repository: Repository of the commit.
        ref: Full name of the ref that was pushed.
        commit: Id of the commit.
    """

    repository: Repository
    ref: str
    commit: str

    @property
    def doing(self) -> str:
        """Description of the request, for people."""
        return f"post the status of commit {self.commit[:12]} of {self.repository.full_name}"


class StatusPoster(Protocol):
    """Poster of commit statuses on the repositories of one entry of `[[hosts]]`."""

    async def post(self, place: StatusPlace, status: CommitStatus) -> None:
        """Post a status; posting the same one again changes nothing.

        Args:
            place: The commit.
            status: The status.

        Raises:
            Denied: The credential is not taken, or lacks a right.
            Busy: The forge asks for a pause; `after_seconds` says how long, if the forge does.
            Outage: The forge cannot be reached, or fails by its own fault.
            Reject: The forge will never take it: no such repository or commit, or too many.
            Retry: The answer cannot be understood.
        """
