"""Failed parts of one message: which are tried again, when, and which are given up. Pure.

A message may push several refs, and a push may have several targets. Each of these parts is settled
on its own: a part that works is started and recorded, one that fails is tried again by itself, as
often as `lanes.max_attempts` says. When no part of the message is left to try, it is dead-lettered
with the parts that were given up. Times are seconds of one monotonic clock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asyncbuild.domain.errors import Busy, Denied, Kind, Outage, Reject, StageError, after_waiting
from asyncbuild.domain.model import Push, StoredArchive, Target


@dataclass(frozen=True, slots=True)
class PushPart:
    """A target of a push, or the push as a whole while its targets are not known yet."""

    push: Push
    target: Target | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Key that differs between the parts of a message."""
        target = self.target
        if target is None:
            return (self.push.id,)
        named = target.project or target.pipeline or target.key or target.rule
        return (self.push.id, target.action, named)

    @property
    def name(self) -> str:
        """Name of the part in the words of an operator."""
        target = self.target
        if target is None:
            return self.push.ref
        what = target.project or target.pipeline or target.rule
        return f"{self.push.ref}, {target.action} {what}"


class Incomplete(Reject):
    """A message of several parts, some of which can never work; the others are done.

    Attributes:
        failures: The parts that were given up, each with its reason; with None in place of the
            part for what of the message could not be understood.
        attempts: Tries of the part that was tried most often.
    """

    failures: Sequence[tuple[PushPart | None, StageError]] = ()
    attempts = 1


class PendingTries(Busy):
    """Parts of a message wait between tries that are counted in its tally."""


@dataclass(slots=True)
class _Failure:
    part: PushPart | None
    error: StageError
    tries: int = 0
    due: float = 0.0
    over: bool = False


class Tally:
    """Failures of one message's parts, over all its tries in one lane.

    Args:
        max_attempts: Failed tries after which a part is given up (`lanes.max_attempts`).
        pause_seconds: The longest usual pause between tries (`lanes.retry_most_seconds`). A part
            that is denied waits half of it first, then twice as long each time, because AWS takes a
            while to apply a changed policy everywhere.
        longest_pause_seconds: The longest that another server may ask for
            (`lanes.retry_after_most_seconds`).

    Attributes:
        archives: Archives that a try uploaded, by event id and key; a later try does not upload
            them again.
        bases: Commits that targets were compared with at their first try, by event id and name.
    """

    def __init__(
        self, *, max_attempts: int, pause_seconds: float, longest_pause_seconds: float = 300
    ) -> None:
        self._max_attempts = max_attempts
        self._pause_seconds = pause_seconds
        self._longest_pause_seconds = longest_pause_seconds
        self._failures: dict[tuple[str, ...], _Failure] = {}
        self._known: set[tuple[str, ...]] = set()
        self.archives: dict[tuple[str, str], StoredArchive] = {}
        self.bases: dict[tuple[str, ...], str] = {}

    def knows(self, part: PushPart) -> bool:
        """Return whether the part has failed before, even if it works by now."""
        return part.key in self._known

    def is_due(self, part: PushPart, now: float) -> bool:
        """Return whether the part is to be tried: it is not given up, and its pause is over."""
        failure = self._failures.get(part.key)
        return failure is None or (not failure.over and failure.due <= now)

    def has_pending(self, push: Push) -> bool:
        """Return whether a part of the push is to be tried again."""
        return any(each.part and each.part.push.id == push.id for each in self._pending())

    def succeed(self, part: PushPart) -> None:
        """Record that the part is settled."""
        self._failures.pop(part.key, None)

    def fail(self, part: PushPart, error: StageError, now: float) -> None:
        """Record a failed try. A limit or an outage is not counted as one (I5).

        Args:
            part: The part that was tried.
            error: Why the try failed.
            now: The time.
        """
        self._known.add(part.key)
        failure = self._failures.setdefault(part.key, _Failure(part, error))
        failure.error = error
        failure.due = now + min(error.after_seconds or 0.0, self._longest_pause_seconds)
        if error.kind.is_waited_out:
            return
        failure.tries += 1
        failure.over = error.kind is Kind.REJECT or failure.tries >= self._max_attempts
        if isinstance(error, Denied):
            failure.due = now + self._pause_seconds * 2.0 ** (min(failure.tries, 10) - 2)

    def give_up(self, fault: Reject) -> None:
        """Record a part of the message that cannot be understood."""
        key = ("", fault.reason)
        self._failures[key] = _Failure(None, fault, tries=1, over=True)

    def abandon(self, waited: str) -> Incomplete | None:
        """Give up all parts that wait for a try; return the message's failures, or None if none.

        Args:
            waited: Time that was waited, in words.
        """
        for each in self._pending():
            each.over = True
            each.error = after_waiting(each.error, waited)
        return _incomplete_error(list(self._failures.values())) if self._failures else None

    def verdict(self, now: float, *, parts: int) -> StageError | None:
        """Return the error to report to the lane, or None if nothing failed.

        Args:
            now: The time.
            parts: Number of parts of the message. With one, its own error is returned, and the lane
                counts tries; with several, they are counted here.
        """
        pending = list(self._pending())
        given_up = [each for each in self._failures.values() if each.over]
        if not pending and not given_up:
            return None
        if len(self._failures) == 1 and parts == 1:
            (failure,) = self._failures.values()
            return _single_failure_error(failure, now)
        return _pending_error(pending, now) if pending else _incomplete_error(given_up)

    def _pending(self) -> Iterator[_Failure]:
        return (each for each in self._failures.values() if not each.over)


def _single_failure_error(failure: _Failure, now: float) -> StageError:
    error = failure.error
    if isinstance(error, Denied):
        if failure.over:
            return Reject(error.reason, remedy=error.remedy, peer=error.peer, code=error.code)
        error.after_seconds = max(0.0, failure.due - now)
    return error


def _pending_error(pending: Sequence[_Failure], now: float) -> StageError:
    """Return an error that the lane does not count, due when the first of the parts is."""
    wait, reasons = max(0.0, min(each.due for each in pending) - now), _reasons(pending)
    waiting = (each.error for each in pending if each.error.kind.is_waited_out)
    if (first := next(waiting, None)) is None:
        return PendingTries(reasons, after_seconds=wait)
    class_ = Outage if first.kind is Kind.OUTAGE else Busy
    return class_(reasons, after_seconds=wait, peer=first.peer, code=first.code)


def _incomplete_error(given_up: Sequence[_Failure]) -> Incomplete:
    error = Incomplete(_reasons(given_up))
    error.failures = [(each.part, each.error) for each in given_up]
    error.attempts = max(each.tries for each in given_up)
    return error


def _reasons(failures: Sequence[_Failure]) -> str:
    named = [(each.part.name if each.part else "", str(each.error)) for each in failures]
    return "; ".join(f"{name}: {reason}" if name else reason for name, reason in named)


def blame(pushes: Sequence[Push], error: StageError) -> list[tuple[Push | None, StageError]]:
    """Return the pushes of a dead-lettered message that failed, each with its reason.

    Args:
        pushes: All pushes of the message; none if it could not be understood.
        error: Why it is dead-lettered.
    """
    if not isinstance(error, Incomplete):
        return [(push, error) for push in pushes or (None,)]
    blamed: list[tuple[Push | None, StageError]] = []
    for push in pushes:
        own = [(part, each) for part, each in error.failures if part and part.push.id == push.id]
        if own:
            text = "; ".join(f"{part.name}: {each}" for part, each in own)
            blamed.append((push, own[0][1] if len(own) == 1 else Reject(text)))
    return [*blamed, *((None, each) for part, each in error.failures if part is None)]
