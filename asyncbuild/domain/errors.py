"""Errors of stages. Each foreign error becomes one of these where the foreign code is called.

A stage raises; the lane decides (`queue/lane/state_machine.py`). The class fixes the kind, which
says what to do, and the scope, which says how much it stops; the text says why:

    Retry       may work if tried again: counts as an attempt
    Denied      like Retry, for a right that is missing: with longer pauses
    Busy        a limit or a throttle was reached: wait, counts as nothing (I5)
    Outage      the other side cannot be reached or fails by its own fault: like Busy
    BadCredentials  AWS does not take the service's own credentials: like Outage
    Reject      can never work: dead-letter now
    Unreachable its repository lacks the commit: asked for again while the push is young, then
                recorded as not built, which is not an error
    LeaseLost   the lease of the message was lost: stop, commit nothing (I4)
    Fatal       the service itself cannot work: end the process
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import ClassVar, Final

from asyncbuild.domain.foreign_text import plain

_SHOWN_MOST: Final = 120
_REASON_MOST: Final = 20_000  # characters: a message may name a hundred refs, each with a reason


class Kind(StrEnum):
    """Reaction that a failure asks for.

    The values are an interface: logs, the ledger, dead letters and metrics name them.
    """

    RETRY = "retry"
    BUSY = "busy"
    OUTAGE = "outage"
    REJECT = "reject"
    UNREACHABLE = "unreachable"
    LEASE_LOST = "lease-lost"
    FATAL = "fatal"
    BUG = "bug"  # an error that a stage did not raise on purpose

    @property
    def is_waited_out(self) -> bool:
        """True if the failure ends without a change to the push: no attempt is counted (I5)."""
        match self:
            case Kind.BUSY | Kind.OUTAGE:
                return True
            case Kind.RETRY | Kind.REJECT | Kind.UNREACHABLE | Kind.BUG:
                return False
            case Kind.LEASE_LOST | Kind.FATAL:
                return False

    @property
    def counts(self) -> bool:
        """True if the try counts as an attempt of the push."""
        match self:
            case Kind.RETRY | Kind.REJECT | Kind.UNREACHABLE | Kind.BUG:
                return True
            case Kind.BUSY | Kind.OUTAGE | Kind.LEASE_LOST | Kind.FATAL:
                return False


class Scope(StrEnum):
    """Share of the work that a failure stops."""

    PUSH = "push"  # one push, or one target of it: all others go on
    DELIVERY = "delivery"  # all messages that were received with it
    SERVICE = "service"  # every push alike: the process ends


class StageError(Exception):
    """Error of a stage that could not do its work.

    Args:
        reason: One sentence for people, with the name and the value concerned; no secret (I10).
        remedy: Advice for an operator; empty where an operator can do nothing.
        after_seconds: Wait before a new try makes sense, where the other side named one.
        peer: The other side that was called: `git`, `s3`, `sqs`, `codebuild`, `codepipeline`;
            empty if the error happened on this machine or the other side is not known.
        code: The other side's own name for the fault: an error code of AWS, an HTTP status,
            the name of an errno; None where it has none.

    Attributes:
        kind: Reaction that the error asks for; each subclass has one.
        scope: Share of the work that it stops; each subclass has one.
        stage: The innermost stage of the push that it ended, such as `push.fetch`.
    """

    kind: ClassVar[Kind]
    scope: ClassVar[Scope] = Scope.PUSH
    exit_code: ClassVar[int] = 70  # EX_SOFTWARE of sysexits(3)

    def __init__(
        self,
        reason: str,
        *,
        remedy: str = "",
        after_seconds: float | None = None,
        peer: str = "",
        code: str | None = None,
    ) -> None:
        reason = plain(reason, _REASON_MOST, lines=True)
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.after_seconds = after_seconds
        self.peer = peer
        self.code = code
        self.stage = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.remedy})" if self.remedy else self.reason


class Retry(StageError):
    """May work if tried again; the try counts as an attempt."""

    kind = Kind.RETRY
    exit_code = 75  # EX_TEMPFAIL


class Denied(Retry):
    """Denial of a start: the service has no right, or not yet, to start one project or pipeline.

    AWS takes a while to apply a changed policy everywhere, so the start is tried again with growing
    pauses (`domain/tally.py`).
    """


class Busy(StageError):
    """Limit or throttle: nothing is wrong with this push, so no attempt is counted (I5)."""

    kind = Kind.BUSY
    exit_code = 75  # EX_TEMPFAIL


class Outage(Busy):
    """Failure of the other side: it cannot be reached, or fails by its own fault (5xx).

    No push causes it, and the next push would fail in the same way: were it counted, an outage of
    minutes would empty the whole queue into the dead-letter queue. So it is waited out (I5), as
    long as the queue delivers its messages.
    """

    kind = Kind.OUTAGE
    exit_code = 69  # EX_UNAVAILABLE


class BadCredentials(Outage):
    """AWS does not take the service's own credentials, or there are none.

    They have expired, are not valid yet, or are being replaced. No push causes that, so the service
    waits for new ones (I5). A command that cannot begin without them ends with the exit code of
    missing permissions.
    """

    exit_code = 77  # EX_NOPERM


class Reject(StageError):
    """Can never work, however often it is tried."""

    kind = Kind.REJECT
    exit_code = 65  # EX_DATAERR


class Unreachable(StageError):
    """The commit cannot be reached in its repository: overtaken, or not shown yet. No fault.

    Attributes:
        tip: The object that its ref points at instead; empty if the ref does not exist or the push
            names none.
    """

    kind = Kind.UNREACHABLE
    exit_code = 66  # EX_NOINPUT
    tip = ""


class LeaseLost(StageError):
    """Another consumer may have the message by now: nothing more is committed for it (I4)."""

    kind = Kind.LEASE_LOST
    scope = Scope.DELIVERY
    exit_code = 75  # EX_TEMPFAIL


class Fatal(StageError):
    """The service cannot do its work at all, with any message."""

    kind = Kind.FATAL
    scope = Scope.SERVICE
    exit_code = 70  # EX_SOFTWARE


class Unsupported(Fatal):
    """A needed program is missing, or its version is not supported."""

    exit_code = 69  # EX_UNAVAILABLE


class NoPermission(Fatal):
    """AWS or git refuses this identity; names the action and the resource."""

    exit_code = 77  # EX_NOPERM


class ConfigError(Fatal):
    """The configuration, or something that it names, is faulty; the reason lists every fault."""

    exit_code = 78  # EX_CONFIG


def after_waiting(error: StageError, waited: str) -> Busy:
    """Return the last error of a wait as `Busy` with the time waited; an `Outage` stays one."""
    class_ = Outage if error.kind is Kind.OUTAGE else Busy
    reason = f"{waited}: {error.reason}"
    return class_(reason, remedy=error.remedy, peer=error.peer, code=error.code)


def show(value: object) -> str:
    """Return any value of an event as short, printable ASCII, for a reason."""
    try:
        text = ascii(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
    except RecursionError:  # the reader accepts deeper nesting than Python shows
        return f"a {type(value).__name__} that is nested too deeply to be shown"
    except ValueError:  # an integer of more digits than Python writes
        return f"a {type(value).__name__} that is too long to be shown"
    return text if len(text) <= _SHOWN_MOST else f"{text[:_SHOWN_MOST]}… ({len(text)} characters)"


@contextmanager
def reading(
    what: str, *, raises: type[StageError] = Reject, remedy: str = "", peer: str = ""
) -> Iterator[None]:
    """Turn any error of reading foreign input into a `StageError` that names the input.

    Its depth, length, encoding, dates and types are the writer's choice, so a list of the possible
    errors is never complete. Errors that a stage raises on purpose pass (a lost lease is one), as
    do `MemoryError` and cancellation. The error's own text is left out: it may quote a secret
    (I10).

    Args:
        what: Name of the input, for people.
        raises: The class of the error.
        remedy: Advice for an operator.
        peer: The side that wrote the input, as in `StageError`.

    Raises:
        StageError: Of class `raises`.
    """
    try:
        yield
    except (StageError, MemoryError):
        raise
    except Exception as error:
        text = f"{what} cannot be read: {type(error).__name__}"
        raise raises(text, remedy=remedy, peer=peer) from error
