"""What goes into a lane and what comes out of it: states, events, commands. Values only."""

from dataclasses import dataclass
from enum import StrEnum

from asyncbuild.domain.errors import Kind


class State(StrEnum):
    """What has become of one message."""

    WAITING = "waiting"  # nothing was done for it yet
    PREPARING = "preparing"  # fetch, archive, upload
    PREPARED = "prepared"  # its archive is whole; waits to be the head
    STARTING = "starting"  # its build is being started, its outcome recorded
    SETTLING = "settling"  # its message is being deleted
    FAILED = "failed"  # cannot be done; waits to be the head
    BURYING = "burying"  # on its way to the dead-letter queue
    PAUSED = "paused"  # waits for a time, then goes on where it was
    DROPPED = "dropped"  # given up here; to be released
    SETTLED = "settled"  # gone from the queue


@dataclass(frozen=True, slots=True)
class LaneMessage:
    """One message as the lane sees it.

    Attributes:
        sequence: Its sequence number in the queue.
        receive_count: Times that it was received, this one included.
        ref: What a newer push may supersede; None for a message that stands alone.
        returns: Whether the queue would still deliver it if it were given back now.
        yields: Whether it may be given back for the sake of others.
    """

    sequence: int
    receive_count: int = 1
    ref: str | None = None
    returns: bool = True
    yields: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of `[lanes]`."""

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
    """Everything up to the whole archive is done."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Started:
    """Its outcome is recorded: build started, nothing to do, superseded."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Settled:
    """Its message is gone from the queue."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A try failed.

    Attributes:
        sequence: Of which message.
        kind: How it failed.
        jitter: A random number from 0 to 1.
        after_seconds: The least wait that was asked for.
        waited_seconds: Since tries that count no attempt began to fail.
    """

    sequence: int
    kind: Kind
    jitter: float = 1.0
    after_seconds: float = 0.0
    waited_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Due:
    """The wait is over."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A cancelled try has ended."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish what can be finished in order."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Time is up: drop all that is not being started or settled."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease is lost: the messages may be in other hands."""


@dataclass(frozen=True, slots=True)
class GiveWay:
    """Others need the room: give the messages back, to be delivered again later."""


OfOne = Prepared | Started | Settled | Failed | Due | Dropped
Event = OfOne | Stop | Expire | Lost | GiveWay

# --- commands -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepare:
    """Fetch, archive and upload. `suspect`: mark the try first; its process may have died of it."""

    sequence: int
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Start the builds and record them. `covers`: the older pushes for which this one stands."""

    sequence: int
    covers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Supersede:
    """Record that the push was superseded by the push `by`; nothing is built for it."""

    sequence: int
    by: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the message: its outcome is recorded (I1)."""

    sequence: int


@dataclass(frozen=True, slots=True)
class SendDeadLetter:
    """Send the message to the dead-letter queue with its reason, then delete it."""

    sequence: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Say `Due` after so long."""

    sequence: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the try that is under way, then say `Dropped` (or whatever it came to before that)."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Release:
    """Make the messages visible again, in this order: tail first, head last.

    The head stays hidden for `hidden_seconds`, and with it the whole group.
    """

    sequences: tuple[int, ...]
    hidden_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing is held any more."""


Command = Prepare | Start | Supersede | Delete | SendDeadLetter | Wait | Cancel | Release | Close
