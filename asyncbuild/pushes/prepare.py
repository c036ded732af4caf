"""A message prepared: everything that may run beside other pushes of the repository.

It ends with whole archives in S3. What must happen in order is in `pushes/dispatch.py`.
"""

from copy import copy
from functools import partial

from asyncbuild.builds.poison import Tries
from asyncbuild.domain.errors import Reject, Scope, StageError
from asyncbuild.domain.events.stage_events import PushPrepareFinished, PushPrepareStarted
from asyncbuild.domain.model import Guard, Nothing, Push
from asyncbuild.pushes.prepare_push import PushPreparer
from asyncbuild.pushes.work import PreparedMessage, PreparedPush, Work
from asyncbuild.runtime.emit import about, stage


class Preparer:
    """Prepares messages, and knows which of them may have killed their process."""

    def __init__(self, pushes: PushPreparer, tries: Tries) -> None:
        self._pushes = pushes
        self._tries = tries

    async def prepare(self, work: Work, *, guard: Guard, suspect: bool = False) -> PreparedMessage:
        """Fetch, archive and upload, unless that was done before.

        Args:
            work: What to prepare.
            guard: Asked before anything is committed (I4).
            suspect: Its process may have died of it: mark the try, and refuse the third.

        Raises:
            StageError: of the stage that failed.
        """
        if isinstance(work.event, Reject):
            raise copy(work.event)
        if isinstance(work.event, Nothing):
            return PreparedMessage(work)
        with about(work.event), stage(PushPrepareStarted()) as ending:
            async with self._tries.open_try(work.message, suspect=suspect):
                if work.more:
                    pushes = [await self._prepare_one(work, push, guard) for push in work.pushes]
                else:
                    pushes = [await self._pushes.prepare(work, work.event, guard)]
            made = [archive for each in pushes for archive in each.archives.values()]
            total = sum(archive.size_bytes for archive in made)
            ending.finished = partial(PushPrepareFinished, bytes=total)
            return PreparedMessage(work, tuple(pushes))

    async def _prepare_one(self, work: Work, push: Push, guard: Guard) -> PreparedPush:
        """Prepare one of several refs of a message; its failure is kept for its turn."""
        with about(push):
            try:
                return await self._pushes.prepare(work, push, guard)
            except StageError as error:
                if error.scope is not Scope.PUSH:
                    raise
                return PreparedPush(push, failed=error)
