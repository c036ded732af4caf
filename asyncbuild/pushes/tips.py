"""Tips: the commit that a request means which names a ref alone."""

from dataclasses import replace
from datetime import UTC, datetime

from asyncbuild.builds.ledger import Ledger
from asyncbuild.domain.model import TIP, Guard, Nothing
from asyncbuild.git.mirrors.cache import MirrorCache
from asyncbuild.pushes.work import Work


class Tips:
    """Looks up tips of refs, each once: the ledger keeps them for later tries.

    Args:
        mirrors: Asks git servers.
        ledger: Keeps what was found.
    """

    def __init__(self, mirrors: MirrorCache, ledger: Ledger) -> None:
        self._mirrors = mirrors
        self._ledger = ledger

    async def resolve(self, work: Work, guard: Guard) -> Work:
        """Return the work with the commit in place of `TIP`; as it is if it names a commit.

        If the ref does not exist, there is nothing to do.

        Args:
            work: The message.
            guard: Asked before anything is committed (I4).

        Raises:
            StageError: Git server or ledger could not be asked.
        """
        push = work.push
        if push is None or push.commit != TIP:
            return work
        seen_at = datetime.now(UTC)
        ids = await self._mirrors.find_tip(push.repository, push.ref)
        if not ids:
            reason = f"{push.ref} does not exist: it was deleted, or never pushed"
            nothing = Nothing(push.id, reason, push.repository, push.ref, requested=True)
            return replace(work, event=nothing)
        guard()
        return replace(work, event=await self._ledger.fix_tip(push, ids[0], seen_at=seen_at))
