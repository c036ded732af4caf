"""Pauses of a lane: before a message is tried again, and while it is hidden. Pure."""

from typing import Final

from asyncbuild.queue.lane.protocol import Failed, Policy

_HIDDEN_MOST_SECONDS: Final = 900.0  # longest pause of a repository whose peers may be well again
_DOUBLINGS_MOST: Final = 30


def pause_seconds(policy: Policy, event: Failed, *, waits: int) -> float:
    """Return the exponential back-off with jitter over its upper half; a peer's longer wait wins.

    A peer may ask for any time, and a lane that waits builds nothing: hence a limit.

    Args:
        policy: Settings of `[lanes]`.
        event: The failure.
        waits: Number of pauses since the last success, this one included.
    """
    most = policy.busy_most_seconds if event.kind.is_waited_out else policy.retry_most_seconds
    grown = min(most, policy.retry_first_seconds * 2.0 ** min(waits - 1, _DOUBLINGS_MOST))
    asked = min(event.after_seconds, policy.retry_after_most_seconds)
    return max(asked, grown * (0.5 + event.jitter / 2))


def hidden_seconds(policy: Policy, *, receive_count: int) -> float:
    """Return for how long a released lane stays hidden: twice as long each time.

    Args:
        policy: Settings of `[lanes]`.
        receive_count: Times that its head was received.
    """
    most = min(_HIDDEN_MOST_SECONDS, policy.longest_wait_seconds)
    times = min(receive_count - 1, _DOUBLINGS_MOST)
    return min(most, policy.retry_most_seconds * 2.0**times)
