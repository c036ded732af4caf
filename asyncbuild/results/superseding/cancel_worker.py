"""Worker that stops superseded builds beside the lanes, soon after a newer one was started.

Nothing is lost with it: what it has not done, or cannot do now, the next round finds in the ledger.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio

from asyncbuild.builds.ledger_records import Head
from asyncbuild.builds.superseding.running_ledger import RunningLedger
from asyncbuild.domain.errors import Kind, StageError
from asyncbuild.domain.events.cancel_events import CancelFailed
from asyncbuild.domain.model import Push
from asyncbuild.domain.results.running_build import RunningBuild
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.results.superseding.canceller import Canceller
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.tasks import for_each

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

IsNewest = Callable[[], Awaitable[bool]]
"""Function that asks the git server whether a ref is at a push's commit now."""

_WAITING_MOST: Final = 1_000  # groups; what is more is left to the next round
_AT_ONCE: Final = 4
_PAUSES_SECONDS: Final = (1.0, 4.0, 15.0, 60.0)


class CancelWorker:
    """Settles groups of builds one after the other, each a few times if it fails.

    Args:
        ledger: Entries of the builds.
        canceller: Settles a group.
    """

    def __init__(self, ledger: RunningLedger, canceller: Canceller) -> None:
        self._ledger = ledger
        self._canceller = canceller
        self._at_once = anyio.CapacityLimiter(_AT_ONCE)
        self._ending = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._waiting = 0

    # --- called by a lane -------------------------------------------------------------------------

    async def add(self, started: StartedBuild, push: Push, head: Head) -> None:
        """Write the entry of a build that was just started, before the record of its push.

        Args:
            started: The build.
            push: Its push.
            head: Head of the ref, which is this push.

        Raises:
            StageError: The ledger refused.
        """
        await self._ledger.add(started, push, head)

    def notice(self, started: StartedBuild, is_newest: IsNewest | None = None) -> None:
        """Stop what a build supersedes, soon; called after the record of its push.

        Args:
            started: The build.
            is_newest: Asked first, if the push is not known to be newer by its time.
        """
        self._start(self._ledger.group_of(started), started, is_newest)

    # --- called by the recorder and by rounds -----------------------------------------------------

    def notice_group(self, group: str) -> None:
        """Stop what is superseded in a group, soon."""
        self._start(group, None, None)

    async def settle_all(self) -> None:
        """Stop all that is superseded; a failure of one group is told and stops no other.

        Raises:
            StageError: The entries could not be listed.
        """
        groups = await self._ledger.find_all()
        await for_each(self._settle_once, [each for each in groups.items() if _has_work(each[1])])

    # --- ends -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End when everything was tried once more; called when no lane is open any more."""
        self._ending.set()

    def drain(self) -> None:
        """Do as `stop`."""
        self.stop()

    async def run(self) -> None:
        """Work until `stop`. Raises no failure."""
        async with anyio.create_task_group() as self._tasks:
            await self._ending.wait()

    def _start(self, group: str, started: StartedBuild | None, is_newest: IsNewest | None) -> None:
        if self._tasks is None or self._ending.is_set() or self._waiting >= _WAITING_MOST:
            return
        self._waiting += 1
        self._tasks.start_soon(self._settle_soon, group, started, is_newest)

    async def _settle_soon(
        self, group: str, started: StartedBuild | None, is_newest: IsNewest | None
    ) -> None:
        try:
            for pause in (*_PAUSES_SECONDS, None):
                last = pause is None or self._ending.is_set()
                if await self._try(group, started, is_newest, None if last else pause) or last:
                    return
                with anyio.move_on_after(pause):
                    await self._ending.wait()
        finally:
            self._waiting -= 1

    async def _try(
        self,
        group: str,
        started: StartedBuild | None,
        is_newest: IsNewest | None,
        pause: float | None,
    ) -> bool:
        """Settle a group once; return whether nothing is left to do. A failure is told."""
        try:
            async with self._at_once:
                if started is not None and is_newest is not None:
                    if not await is_newest():
                        return True  # it came late, or a newer push comes
                    await self._canceller.confirm(started)
                return await self._canceller.settle(group)
        except StageError as error:
            kind, reason = error.kind, str(error)
        except Exception as error:  # noqa: BLE001 - a bug must not end the service
            kind, reason = Kind.BUG, f"internal error: {type(error).__name__}: {error}"
        self._tell(started, kind, reason, pause)
        return False

    async def _settle_once(self, group: tuple[str, list[RunningBuild]]) -> None:
        prefix, builds = group
        try:
            await self._canceller.settle(prefix)
        except StageError as error:
            self._tell(builds[0], error.kind, str(error), None)

    def _tell(
        self,
        build: StartedBuild | RunningBuild | None,
        kind: Kind,
        reason: str,
        pause: float | None,
    ) -> None:
        emit(
            CancelFailed(
                repository=build.repository.full_name if build else "",
                ref=build.ref if build else "",
                kind=kind,
                reason=reason,
                retry_in_seconds=pause,
            )
        )


def _has_work(builds: list[RunningBuild]) -> bool:
    return len(builds) > 1 or any(each.superseded_by is not None for each in builds)
