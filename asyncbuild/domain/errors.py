"""What a stage may say went wrong. Every foreign error becomes one of these where it was met.

A stage raises; the lane decides (`queue/lane/state_machine.py`). The class fixes the kind, which
says what to do, and the scope, which says how much it stops; the text says why:

    Retry       may work if tried again: counts as an attempt
    Denied      the same, for a right that is missing: with longer pauses
    Busy        somebody is at a limit: wait, counts as nothing (I5)
    Outage      the other side is not there or fails by itself: as Busy
    BadCredentials  AWS does not take the service's own credentials: as Outage
    Reject      can never work: dead-letter now
    Unreachable its repository lacks the commit: asked for again while the push is young, then
                recorded, not built, no error
    LeaseLost   the message is no longer ours: stop, commit nothing (I4)
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
    """What is to be done about a failure.

    The values are an interface: logs, the ledger, dead letters and metrics name them.
    """

    RETRY = "retry"
    BUSY = "busy"
    OUTAGE = "outage"
    REJECT = "reject"
    UNREACHABLE = "unreachable"
    LEASE_LOST = "lease-lost"
    FATAL = "fatal"
    BUG = "bug"  # an error that no stage meant to raise

    @property
    def is_waited_out(self) -> bool:
        """Whether it passes without the push being to blame: no attempt is counted (I5)."""
        match self:
            case Kind.BUSY | Kind.OUTAGE:
                return True
            case Kind.RETRY | Kind.REJECT | Kind.UNREACHABLE | Kind.BUG:
                return False
            case Kind.LEASE_LOST | Kind.FATAL:
                return False

    @property
    def counts(self) -> bool:
        """Whether the try counts as an attempt of the push."""
        match self:
            case Kind.RETRY | Kind.REJECT | Kind.UNREACHABLE | Kind.BUG:
                return True
            case Kind.BUSY | Kind.OUTAGE | Kind.LEASE_LOST | Kind.FATAL:
                return False


class Scope(StrEnum):
    """How much of the work a failure stops."""

    PUSH = "push"  # one push, or one target of it: all others go on
    DELIVERY = "delivery"  # the messages that were received with it
    SERVICE = "service"  # every push alike: the process ends


class StageError(Exception):
    """A stage could not do its work.

    Args:
        reason: One sentence for people, with the name and the value concerned; no secret (I10).
        remedy: What an operator can do about it; empty where there is nothing to do.
        after_seconds: How long to wait before a new try makes sense, where the other side said.
        peer: The other side that was asked: `git`, `s3`, `sqs`, `codebuild`, `codepipeline`;
            empty if it happened on this machine or was not told.
        code: The other side's own name for what went wrong: an error code of AWS, an HTTP status,
            the name of an errno; None where it has none.

    Attributes:
        kind: What is to be done about it; each subclass has one.
        scope: How much it stops; each subclass has one.
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
    """One project or pipeline may not be started by us, or not yet.

    A policy that was changed takes a while to be known everywhere: it is tried again with growing
    pauses (`domain/tally.py`).
    """


class Busy(StageError):
    """A limit or a throttle: nothing is wrong with this push, so nothing is counted (I5)."""

    kind = Kind.BUSY
    exit_code = 75  # EX_TEMPFAIL


class Outage(Busy):
    """The other side cannot be reached, or fails by its own fault (5xx).

    No push is to blame, and the next one would fare no better: were it counted, an outage of
    minutes would empty the whole queue into the dead-letter queue. So it is waited out (I5), as
    long as the queue delivers its messages.
    """

    kind = Kind.OUTAGE
    exit_code = 69  # EX_UNAVAILABLE


class BadCredentials(Outage):
    """AWS does not take the service's own credentials, or there are none.

    They have expired, are not valid yet, or are being replaced: no push is to blame, so it is
    waited for others (I5). A command that cannot begin for it ends with the code of permissions.
    """

    exit_code = 77  # EX_NOPERM


class Reject(StageError):
    """Can never work, however often it is tried."""

    kind = Kind.REJECT
    exit_code = 65  # EX_DATAERR


class Unreachable(StageError):
    """The commit cannot be reached in its repository: overtaken, or not shown yet; not wrong.

    Attributes:
        tip: The object that its ref points at instead; empty if there is no such ref, or none
            was named.
    """

    kind = Kind.UNREACHABLE
    exit_code = 66  # EX_NOINPUT
    tip = ""


class LeaseLost(StageError):
    """The message may be in other hands by now; nothing more is committed for it (I4)."""

    kind = Kind.LEASE_LOST
    scope = Scope.DELIVERY
    exit_code = 75  # EX_TEMPFAIL


class Fatal(StageError):
    """The service cannot do its work at all, whatever the message."""

    kind = Kind.FATAL
    scope = Scope.SERVICE
    exit_code = 70  # EX_SOFTWARE


class Unsupported(Fatal):
    """A program that is needed is missing, or a version of it that is not supported."""

    exit_code = 69  # EX_UNAVAILABLE


class NoPermission(Fatal):
    """AWS or git refuses this identity; names the action and the resource."""

    exit_code = 77  # EX_NOPERM


class ConfigError(Fatal):
    """The configuration, or what it names, is not whole; the reason lists every fault found."""

    exit_code = 78  # EX_CONFIG


def after_waiting(error: StageError, waited: str) -> Busy:
    """The last error of what was waited for, with how long that was; an outage stays one."""
    class_ = Outage if error.kind is Kind.OUTAGE else Busy
    reason = f"{waited}: {error.reason}"
    return class_(reason, remedy=error.remedy, peer=error.peer, code=error.code)


def show(value: object) -> str:
    """Return any value of an event as short, printable ASCII, for a reason."""
    try:
        text = ascii(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
    except RecursionError:  # read by a reader that nests deeper than Python shows
        return f"a {type(value).__name__} that is nested too deeply to be shown"
    except ValueError:  # an integer of more digits than Python writes
        return f"a {type(value).__name__} that is too long to be shown"
    return text if len(text) <= _SHOWN_MOST else f"{text[:_SHOWN_MOST]}… ({len(text)} characters)"


@contextmanager
def reading(
    what: str, *, raises: type[StageError] = Reject, remedy: str = "", peer: str = ""
) -> Iterator[None]:
    """Turn any error of reading what others wrote into one that names the thing.

    Its depth, length, encoding, dates and types are the writer's choice, so no list of what may go
    wrong is ever whole. Errors that a stage meant pass, as do the end of memory and cancellation;
    a lost lease is a stage's. The error's own text is left out: it may quote a secret (I10).

    Args:
        what: What is read, for people.
        raises: The class of the error.
        remedy: What an operator can do about it.
        peer: Who wrote it, as in `StageError`.

    Raises:
        StageError: of class `raises`.
    """
    try:
        yield
    except (StageError, MemoryError):
        raise
    except Exception as error:
        text = f"{what} cannot be read: {type(error).__name__}"
        raise raises(text, remedy=remedy, peer=peer) from error
