"""Work on one message of the queue of results: find the build, ask for its state, record it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from asyncbuild.domain.errors import Denied, Kind, Reject, StageError
from asyncbuild.domain.events.result_events import ResultNotOurs
from asyncbuild.domain.model import Message
from asyncbuild.domain.results.build_result import StartedId
from asyncbuild.domain.results.started_build import StartedBuild
from asyncbuild.domain.settling import Done, GiveUp, Hide, Settling, hidden_seconds
from asyncbuild.results.facts.patience import is_behind, is_young
from asyncbuild.results.facts.result_messages import StateChange, SweepRequest, read_result_message
from asyncbuild.results.finder import ResultFinder
from asyncbuild.results.recorder import ResultRecorder
from asyncbuild.runtime.clock import Clock, utc_now
from asyncbuild.runtime.emit import emit


@dataclass(frozen=True, slots=True)
class ResultFailure:
    """Failure of a message's work: its kind, its reason, and the side that was called."""

    kind: Kind
    reason: str
    peer: str = ""


@dataclass(frozen=True, slots=True)
class SettledMessage:
    """A message with what it says about a build, how it is settled, and its failure, if any.

    `change` is None if it says nothing about a build.
    """

    message: Message
    change: StateChange | None
    settling: Settling
    failure: ResultFailure | None = None


class ResultWorker:
    """Settles messages about single builds.

    Args:
        finder: Finds the builds of this service.
        recorder: Records their states.
        clock: Clock.
    """

    def __init__(
        self, finder: ResultFinder, recorder: ResultRecorder, *, clock: Clock = utc_now
    ) -> None:
        self._finder = finder
        self._recorder = recorder
        self._clock = clock

    async def settle(self, message: Message, change: StateChange) -> SettledMessage:
        """Record the state of the build that a message is about; return how the message is settled.

        Args:
            message: The message.
            change: What it says.
        """
        try:
            return SettledMessage(message, change, await self._settle(message, change))
        except Reject as error:
            return SettledMessage(message, change, GiveUp(str(error)))
        except StageError as error:
            failure = ResultFailure(error.kind, str(error), error.peer)
        except Exception as error:  # noqa: BLE001 - a bug is one message's failure
            text = f"internal error: {type(error).__name__}: {error}"
            failure = ResultFailure(Kind.BUG, text)
        return SettledMessage(message, change, _hidden(message), failure)

    async def _settle(self, message: Message, change: StateChange) -> Settling:
        now = self._clock()
        young = is_young(message.sent, now)
        started = await self._find(change.of, young=young)
        if started is None:
            return _hidden(message) if young else _not_ours(message, change, now)
        newest = await self._finder.find_newest(change.of)
        if newest is not None:
            await self._recorder.record(started, newest)
        # An old message leaves it to the next round: the build is still marked as unfinished.
        return _hidden(message) if young and is_behind(change, newest) else Done()

    async def _find(self, of: StartedId, *, young: bool) -> StartedBuild | None:
        """Return the build of the index that an event is about; None if there is none."""
        started = await self._finder.find_start(of)
        if started is not None:
            return started
        try:
            return await self._finder.find_first(of)
        except Denied:  # not worth a warning: it would ask for a right to a project of others
            return None
        except StageError:
            if young:
                raise
            return None  # another's build, which this service may not even look at


def sort_messages(
    messages: Sequence[Message],
) -> tuple[list[tuple[Message, StateChange]], list[Message], list[SettledMessage]]:
    """Return messages about builds, requests for rounds, and those that are settled unread."""
    changes, sweeps, others = [], [], []
    for message in messages:
        try:
            told = read_result_message(message.body)
        except Reject as error:
            others.append(SettledMessage(message, None, GiveUp(str(error))))
            continue
        match told:
            case StateChange():
                changes.append((message, told))
            case SweepRequest():
                sweeps.append(message)
            case _:
                others.append(SettledMessage(message, None, Done()))
    return changes, sweeps, others


def _hidden(message: Message) -> Hide:
    return Hide(hidden_seconds(message.receive_count))


def _not_ours(message: Message, change: StateChange, now: datetime) -> Done:
    waited = (now - message.sent).total_seconds() if message.sent else 0.0
    told = ResultNotOurs(
        build_id=change.of.id, status=change.status, waited_seconds=round(waited, 1)
    )
    emit(told)
    return Done()
