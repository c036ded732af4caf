"""Input and output of a lane's state machine: states, events, commands. Values only."""

from dataclasses import dataclass
from enum import StrEnum

from asyncbuild.domain.errors import Kind


class State(StrEnum):
    """State of one message."""

    WAITING = "waiting"  # nothing was done for it yet
    PREPARING = "preparing"  # fetch, archive, upload
    PREPARED = "prepared"  # its archive is whole; waits to be the head
    STARTING = "starting"  # its build is being started, its outcome recorded
    SETTLING = "settling"  # its message is being deleted
    FAILED = "failed"  # failed for good; waits to be the head
    BURYING = "burying"  # is being sent to the dead-letter queue
    PAUSED = "paused"  # waits for a time, then continues
    DROPPED = "dropped"  # given up by this lane; to be released
    SETTLED = "settled"  # gone from the queue


@dataclass(frozen=True, slots=True)
class LaneMessage:
    """One message as the lane sees it.

    Attributes:
        sequence: Its sequence number in the queue.
        receive_count: Times that it was received, this one included.
        ref: Repository and ref whose newer push may supersede it; None if none may.
        returns: Whether the queue would still deliver it if it were released now.
        yields: Whether it may be released for the sake of others.
    """

    sequence: int
    receive_count: int = 1
    ref: str | None = None
    returns: bool = True
    yields: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of `[lanes]`."""

    lookahead: int = 4
    max_attempts: int = 2
    retry_first_seconds: float = 1
    retry_most_seconds: float = 30
    busy_most_seconds: float = 10
    retry_after_most_seconds: float = 300
    longest_wait_seconds: float = 3_600
    skip_superseded: bool = False


# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared:
    """Event: the archives of the message are whole."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Started:
    """Event: the outcome is recorded: build started, nothing to do, or superseded."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Event: the message is gone from the queue."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Event: a try failed.

    Attributes:
        sequence: Number of the message.
        kind: Kind of the error.
        jitter: A random number from 0 to 1.
        after_seconds: The least wait that the peer asked for.
        waited_seconds: Time since the tries that count no attempt began to fail.
    """

    sequence: int
    kind: Kind
    jitter: float = 1.0
    after_seconds: float = 0.0
    waited_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Due:
    """Event: the wait is over."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Event: a cancelled try has ended."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Event: the process stops; finish what can be finished in order."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Event: the grace is over; drop messages that are not being started or settled."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Event: the lease is lost; another consumer may have the messages."""


@dataclass(frozen=True, slots=True)
class GiveWay:
    """Event: others need the room; release the messages, to be delivered again later."""


OfOne = Prepared | Started | Settled | Failed | Due | Dropped
Event = OfOne | Stop | Expire | Lost | GiveWay

# --- commands -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepare:
    """Command: fetch, archive and upload.

    `suspect`: mark the try first, because the message may have killed its process before.
    """

    sequence: int
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Command: start the builds and record them; `covers` are older pushes that this one covers."""

    sequence: int
    covers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Supersede:
    """Command: record that the push `by` superseded this one; nothing is built for it."""

    sequence: int
    by: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Command: delete the message; its outcome is recorded (I1)."""

    sequence: int


@dataclass(frozen=True, slots=True)
class SendDeadLetter:
    """Command: send the message to the dead-letter queue with its reason, then delete it."""

    sequence: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Command: send `Due` after `seconds`."""

    sequence: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cancel:
    """Command: end the running try; then send `Dropped`, or the event that came before it."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Release:
    """Command: make the messages visible again, in this order: tail first, head last.

    The head stays hidden for `hidden_seconds`, and with it the whole group.
    """

    sequences: tuple[int, ...]
    hidden_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Close:
    """Command: end the lane, which holds no message any more."""


Command = Prepare | Start | Supersede | Delete | SendDeadLetter | Wait | Cancel | Release | Close
