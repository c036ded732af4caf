"""Questions to a repository's history about a push: what contains it, what is newer."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from asyncbuild.domain.errors import Unreachable
from asyncbuild.domain.model import Push, RefKind
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.pushes.work import Work


class OpensSnapshots(Protocol):
    """Makes commits of pushes present; `pushes.archives.Archives` does."""

    def open_snapshot(self, work: Work, push: Push) -> AbstractAsyncContextManager[Snapshot]:
        """Hold the commit of a push. Raises StageError."""


class History:
    """Asks the mirror, and the git server where the mirror cannot know.

    Args:
        mirrors: The mirrors.
        archives: Makes the commit of a push present.
    """

    def __init__(self, mirrors: MirrorCache, archives: OpensSnapshots) -> None:
        self._mirrors = mirrors
        self._archives = archives

    async def is_contained(self, work: Work, push: Push, descendant: str) -> bool | None:
        """Tell whether a push's commit is contained in another; None if the mirror does not tell.

        Raises:
            StageError: as `MirrorCache.open`.
        """
        async with self._archives.open_snapshot(work, push) as snapshot:
            return await snapshot.is_ancestor(push.commit, descendant)

    async def goes_back(self, work: Work, push: Push, built: str) -> bool:
        """Tell whether a push whose commit is contained in `built` came after it all the same.

        A force push back, or a branch that was deleted and made again, is newer, and must be built;
        a push that is delivered late is older. If its event does not tell when it was, two things
        do: the ref was at `built` or beyond before the push, or it is at the push's commit now.

        Raises:
            StageError: as `MirrorCache.open`.
        """
        if push.old_commit:
            async with self._archives.open_snapshot(work, push) as snapshot:
                if await snapshot.is_ancestor(built, push.old_commit):
                    return True
        return await self.is_at_tip(push)

    async def is_at_tip(self, push: Push) -> bool:
        """Tell whether the git server shows the ref at the push's commit now.

        Raises:
            StageError: as `MirrorCache.open`.
        """
        return push.commit in await self._mirrors.find_tip(push.repository, push.ref)

    async def peel(self, work: Work, push: Push) -> str:
        """Return the id of the push's commit: of an annotated tag, that of what it points at.

        Raises:
            StageError: as `MirrorCache.open`, except that a commit which is gone has no other id.
        """
        if push.kind is not RefKind.TAG:
            return push.commit
        try:
            async with self._archives.open_snapshot(work, push) as snapshot:
                return snapshot.commit
        except Unreachable:
            return push.commit
