"""Worker of the queue of rounds: carries one order out, and says what becomes of its message."""

import time
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Final

from asyncbuild.domain.errors import Busy, Kind, Reject, StageError
from asyncbuild.domain.events.reconcile_events import ReconcileDelayed
from asyncbuild.domain.model import Message
from asyncbuild.domain.repository import Repository
from asyncbuild.domain.settling import Done, GiveUp, Hide, Settling, hidden_seconds
from asyncbuild.git.formats.error_classes import GitFailed, GitFault
from asyncbuild.reconcile.planning.forge_pace import ForgePace
from asyncbuild.reconcile.planning.round_messages import RoundOrder, read_order
from asyncbuild.reconcile.reconciler import Reconciler, RepositoryLook
from asyncbuild.reconcile.round_starter import RoundStarter
from asyncbuild.reconcile.told_failures import ToldFailures
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import emit

_OLD_ROUND: Final = timedelta(hours=1)  # a newer one follows it, or none is wanted
_OLD_LOOK: Final = timedelta(hours=6)  # later rounds have looked, or will
_LOOKS_MOST: Final = 20  # deliveries of one message; what is left then waits for the next round
_JITTER: Final = 0.25
_PEERS: Final = frozenset({"git", "codecommit"})
_GROUPLESS: Final = (
    "pushes were found, but the message group of the repository is not known; it is with the first "
    "push that is built"
)


class ReconcileWorker:
    """Carries orders out.

    Args:
        reconciler: Looks at repositories.
        starter: Starts rounds.
        told: Tells failures of repositories.
        monotonic: Clock of pauses, in seconds.
        clock: Clock of the world.
        random: Source of jitter.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        starter: RoundStarter,
        told: ToldFailures,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Clock = utc_now,
        random: Random | None = None,
    ) -> None:
        self._reconciler = reconciler
        self._starter = starter
        self._told = told
        self._pace = ForgePace()
        self._monotonic = monotonic
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - jitter, not a secret

    async def settle(self, message: Message) -> Settling:
        """Carry out the order in a message; return what becomes of the message.

        Args:
            message: The message.
        """
        try:
            order = read_order(message.body)
        except Reject as error:
            return GiveUp(str(error), error.kind)
        try:
            if order.repository is not None:
                return await self._look(message, order, order.repository)
            if self._clock() - order.time <= _OLD_ROUND:
                await self._starter.start(order)
        except StageError as error:
            return self._later(order, error, hidden_seconds(message.receive_count))
        return Done()

    async def _look(self, message: Message, order: RoundOrder, repository: Repository) -> Settling:
        late = self._clock() - order.time > _OLD_LOOK or message.receive_count > _LOOKS_MOST
        if late:
            return Done()
        forge = _forge_of(repository)
        if closed := self._pace.wait_seconds(forge, self._monotonic()):
            return self._hide(closed)
        try:
            look = await self._reconciler.look(repository)
        except StageError as error:
            return self._fail(message, order, repository, error)
        except Exception as error:  # noqa: BLE001 - a bug is one repository's failure
            told = f"internal error: {type(error).__name__}: {error}"
            self._told.tell_reason(repository.path, Kind.BUG, told)
            return Done()
        self._pace.note_success(forge)
        return self._settle_look(look)

    def _settle_look(self, look: RepositoryLook) -> Settling:
        path = look.repository.path
        if look.groupless:
            self._told.tell_reason(path, Kind.REJECT, _GROUPLESS)
        else:
            self._told.forget(path)
        return Done() if look.wait_seconds is None else self._hide(look.wait_seconds)

    def _fail(
        self, message: Message, order: RoundOrder, repository: Repository, error: StageError
    ) -> Settling:
        """Return when a repository is looked at again: soon, or with the next round.

        A forge that throttles or is away is left alone for a while. What is wrong with a repository
        itself is told, and met again in the next round: it never becomes a dead letter. After a
        server that was silent, others of it wait: each could take as long.
        """
        if isinstance(error, Busy) and error.peer in _PEERS:
            forge, now = _forge_of(repository), self._monotonic()
            seconds = self._pace.slow_down(forge, now, after_seconds=error.after_seconds)
            return self._later(order, error, seconds)
        if isinstance(error, Busy) or error.after_seconds is not None:
            pause = error.after_seconds or hidden_seconds(message.receive_count)
            return self._later(order, error, pause)
        if isinstance(error, GitFailed) and error.fault is GitFault.SILENT:
            self._pace.slow_down(_forge_of(repository), self._monotonic())
        self._told.tell(repository.path, error)
        return Done()

    def _later(self, order: RoundOrder, error: StageError, seconds: float) -> Settling:
        hidden = self._hide(seconds)
        emit(
            ReconcileDelayed(
                repository=order.repository.path if order.repository else "",
                kind=error.kind,
                reason=str(error),
                retry_in_seconds=hidden.seconds,
            )
        )
        return hidden

    def _hide(self, seconds: float) -> Hide:
        """Hide a message for a while, some for longer than others: they do not come all at once."""
        return Hide(int(seconds * (1 + _JITTER * self._random.random())) + 1)


def _forge_of(repository: Repository) -> str:
    """Return what is throttled as one: an account and region of CodeCommit, or a host."""
    return repository.forge if repository.is_foreign else repository.owner
