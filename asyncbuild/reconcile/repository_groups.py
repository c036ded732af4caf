"""Message groups of repositories that no message has named yet."""

from typing import Protocol

from asyncbuild.builds.reconcile_ledger import ReconcileLedger
from asyncbuild.domain.repository import Repository


class NamesRepositories(Protocol):
    """Tells the id of a repository; `forges.codecommit_api.CodeCommitApi` does."""

    async def find_id(self, repository: Repository) -> str:
        """Return the id of a repository of CodeCommit. Raises StageError."""


class RepositoryGroups:
    """Finds the message group of a repository's pushes: a wrong one breaks their order (I2).

    Args:
        ledger: Heads keep the group in which a push came.
        codecommit: Tells ids of repositories of CodeCommit, which are their groups.
    """

    def __init__(self, ledger: ReconcileLedger, codecommit: NamesRepositories) -> None:
        self._ledger = ledger
        self._codecommit = codecommit

    async def find(self, repository: Repository, *, before: str = "") -> str:
        """Return the group; empty if it is not known.

        Args:
            repository: The repository.
            before: Group that was found earlier; empty without one. That of a newer push counts
                more: the repository may have been deleted, and made again under its name.

        Raises:
            StageError: The ledger or CodeCommit refused, or cannot be reached.
        """
        group = await self._ledger.find_group(repository) or before
        if group or repository.is_foreign:
            return group
        return await self._codecommit.find_id(repository)
