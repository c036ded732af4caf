"""Failures of rounds, each told once: a repository that is gone fails in every round."""

from asyncbuild.domain.errors import Kind, StageError
from asyncbuild.domain.events.reconcile_events import ReconcileFailed
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.recent import Recent

_REMEMBERED_MOST = 10_000


class ToldFailures:
    """Tells each failure of each repository once, until it has succeeded."""

    def __init__(self) -> None:
        self._told: Recent[str, str] = Recent(_REMEMBERED_MOST)

    @property
    def count(self) -> int:
        """Number of repositories and accounts that have failed, and not succeeded since."""
        return len(self._told)

    def tell(self, about: str, error: StageError) -> None:
        """Tell a failure, unless it was the last that was told of its repository.

        Args:
            about: The repository, or another thing that a round looks at.
            error: The failure.
        """
        self.tell_reason(about, error.kind, str(error))

    def tell_reason(self, about: str, kind: Kind, reason: str) -> None:
        """Tell a failure as `tell`, by its kind and reason.

        Args:
            about: The repository, or another thing that a round looks at.
            kind: Kind of the failure.
            reason: One sentence for people.
        """
        if self._told.get(about) != reason:
            self._told[about] = reason
            emit(ReconcileFailed(repository=about, kind=kind, reason=reason))

    def forget(self, about: str) -> None:
        """Tell the next failure of a repository again.

        Args:
            about: The repository.
        """
        self._told.pop(about, None)
