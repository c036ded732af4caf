"""Questions about a push to its repository's history: which commits contain it, which are newer."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from asyncbuild.domain.errors import Unreachable
from asyncbuild.domain.model import Push, RefKind
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.git.snapshot import Snapshot
from asyncbuild.pushes.work import Work


class OpensSnapshots(Protocol):
    """Makes commits of pushes present; `pushes.archives.Archives` is one."""

    def open_snapshot(self, work: Work, push: Push) -> AbstractAsyncContextManager[Snapshot]:
        """Open the commit of a push. Raises StageError."""


class History:
    """Asks the mirror; asks the git server where the mirror cannot know.

    Args:
        mirrors: The mirrors.
        archives: Makes the commit of a push present.
    """

    def __init__(self, mirrors: MirrorCache, archives: OpensSnapshots) -> None:
        self._mirrors = mirrors
        self._archives = archives

    async def is_contained(self, work: Work, push: Push, descendant: str) -> bool | None:
        """Return whether a push's commit is contained in another; None if the mirror cannot tell.

        Args:
            work: The message of the push.
            push: The push.
            descendant: Id of the other commit.

        Raises:
            StageError: As `MirrorCache.open`.
        """
        async with self._archives.open_snapshot(work, push) as snapshot:
            return await snapshot.is_ancestor(push.commit, descendant)

    async def contains(self, work: Work, push: Push, ancestor: str) -> bool | None:
        """Return whether a push's commit contains another; None if the mirror cannot tell.

        Args:
            work: The message of the push.
            push: The push.
            ancestor: Id of the other commit.

        Raises:
            StageError: As `MirrorCache.open`.
        """
        async with self._archives.open_snapshot(work, push) as snapshot:
            return await snapshot.is_ancestor(ancestor, push.commit)

    async def goes_back(self, work: Work, push: Push, built: str) -> bool:
        """Return whether a push whose commit is contained in `built` is nevertheless newer.

        A force push back, or a branch that was deleted and made again, is newer, and must be built;
        a push that is delivered late is older. If the event has no time, two facts decide: the ref
        was at `built` or beyond before the push, or it is at the push's commit now.

        Args:
            work: The message of the push.
            push: The push.
            built: Id of the commit that was built.

        Raises:
            StageError: As `MirrorCache.open`.
        """
        if push.old_commit:
            async with self._archives.open_snapshot(work, push) as snapshot:
                if await snapshot.is_ancestor(built, push.old_commit):
                    return True
        return await self.is_at_tip(push)

    async def is_at_tip(self, push: Push) -> bool:
        """Return whether the git server shows the ref at the push's commit now.

        Raises:
            StageError: As `MirrorCache.open`.
        """
        return push.commit in await self._mirrors.find_tip(push.repository, push.ref)

    async def peel(self, work: Work, push: Push) -> str:
        """Return the id of the push's commit; for an annotated tag, of the commit it points at.

        Raises:
            StageError: As `MirrorCache.open`, except if the commit is gone: then its own id is
                returned.
        """
        if push.kind is not RefKind.TAG:
            return push.commit
        try:
            async with self._archives.open_snapshot(work, push) as snapshot:
                return snapshot.commit
        except Unreachable:
            return push.commit
