"""Number of lanes that a process holds: those at work, and as many again that wait. Pure.

A lane that waits needs neither a consumer nor the network, so it must not keep others out. But its
messages take memory and leases: so when as many lanes wait as may work, the oldest waiting one is
released to the queue, which keeps its order.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from asyncbuild.queue.lane.protocol import LaneMessage, Policy, State
from asyncbuild.queue.lane.queue_facts import QueueFacts
from asyncbuild.queue.lane.transitions import UNDER_WAY

MOST_HELD_SECONDS: Final = 12 * 3_600  # SQS ends a lease then, however often it was renewed


@dataclass(frozen=True, slots=True)
class LaneActivity:
    """Activity of a lane, as far as other lanes are concerned.

    Attributes:
        waits: Nothing is under way for it: its head is paused, or its forge uses its whole share.
        yields: It may be released to the queue now.
    """

    waits: bool = False
    yields: bool = False


@dataclass(frozen=True, slots=True)
class LaneCapacity:
    """Decision whether another lane may be opened, and which lane is released first, if any."""

    free: bool
    gives_way: int | None = None


def find_room(standings: Sequence[LaneActivity], *, most: int) -> LaneCapacity:
    """Decide whether to receive more.

    Args:
        standings: States of all lanes held, oldest first.
        most: How many lanes may work, and how many may wait (`lanes.most`).
    """
    waiting = sum(each.waits for each in standings)
    if len(standings) - waiting >= most:
        return LaneCapacity(free=False)
    if waiting < most:
        return LaneCapacity(free=True)
    oldest = next((n for n, each in enumerate(standings) if each.waits and each.yields), None)
    return LaneCapacity(free=oldest is not None, gives_way=oldest)


def held(
    sequence: int,
    *,
    receive_count: int,
    ref: str | None,
    age_seconds: float,
    facts: QueueFacts,
) -> LaneMessage:
    """Return the message as its lane sees it, with whether it may be released.

    SQS itself dead-letters a message that was received `max_receive_count` times, without a reason,
    and deletes one that is older than the retention. For the sake of others a message spends no
    more than half of its receives: the other half is for restarts.

    Args:
        sequence: Its sequence number.
        receive_count: Times that it was received, this one included.
        ref: Repository and ref whose newer push may supersede it; None if none may.
        age_seconds: Time since it was sent.
        facts: Attributes of the queue.
    """
    limit = facts.max_receive_count
    most = float("inf") if limit is None else limit
    young = age_seconds + 2 * MOST_HELD_SECONDS < facts.retention_seconds
    return LaneMessage(
        sequence,
        receive_count,
        ref,
        returns=young and receive_count < most,
        yields=young and receive_count <= most / 2,
    )


def find_standing(
    states: Mapping[int, State],
    *,
    held_back: Collection[int],
    blocked_seconds: float,
    may_give_way: bool,
    policy: Policy,
) -> LaneActivity:
    """Return the standing of a lane that is neither closed nor ending.

    A paused head has had its try, so its lane gives way at once. A head that waits because its
    forge uses its whole share of the consumers gets some time to obtain one.

    Args:
        states: States of all its messages, in the order of the queue.
        held_back: Those that wait for a consumer that their forge may not have now.
        blocked_seconds: How long the head has been asking for a consumer.
        may_give_way: Whether a release would forget no counted attempt.
        policy: The settings of `[lanes]`.
    """
    open_ = {n: state for n, state in states.items() if state is not State.SETTLED}
    under_way = any(state in UNDER_WAY and n not in held_back for n, state in open_.items())
    if under_way or not open_:
        return LaneActivity()
    paused = next(iter(open_.values())) is State.PAUSED
    tried = paused or blocked_seconds >= policy.busy_most_seconds
    return LaneActivity(waits=True, yields=tried and may_give_way)
