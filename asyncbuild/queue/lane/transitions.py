"""The table of a lane's state machine: which event leads a message from state to state. Pure.

`queue/lane/state_machine.py` makes the moves; ARCHITECTURE.md shows the table as a diagram.
"""

from typing import Final

from asyncbuild.queue.lane.protocol import (
    Dropped,
    Due,
    Failed,
    OfOne,
    Prepared,
    Settled,
    Started,
    State,
)

_S = State
_AFTER_FAILURE = frozenset({_S.PAUSED, _S.FAILED, _S.DROPPED})

# States that an event may lead to; any other transition is a bug. `None` is the lane's own move.
TABLE: dict[tuple[State, type[OfOne] | None], frozenset[State]] = {
    (_S.WAITING, None): frozenset({_S.PREPARING, _S.STARTING, _S.DROPPED}),
    (_S.PREPARING, Prepared): frozenset({_S.PREPARED, _S.DROPPED}),
    (_S.PREPARING, Failed): _AFTER_FAILURE,
    (_S.PREPARING, Dropped): frozenset({_S.DROPPED}),
    (_S.PREPARED, None): frozenset({_S.STARTING, _S.DROPPED}),
    (_S.STARTING, Started): frozenset({_S.SETTLING, _S.DROPPED}),
    (_S.STARTING, Failed): _AFTER_FAILURE,
    (_S.STARTING, Dropped): frozenset({_S.DROPPED}),
    (_S.SETTLING, Settled): frozenset({_S.SETTLED}),
    (_S.SETTLING, Failed): frozenset({_S.PAUSED, _S.DROPPED}),
    (_S.SETTLING, Dropped): frozenset({_S.DROPPED}),
    (_S.FAILED, None): frozenset({_S.BURYING, _S.DROPPED}),
    (_S.BURYING, Settled): frozenset({_S.SETTLED}),
    (_S.BURYING, Failed): frozenset({_S.PAUSED, _S.DROPPED}),
    (_S.BURYING, Dropped): frozenset({_S.DROPPED}),
    (_S.PAUSED, Due): frozenset({_S.WAITING, _S.PREPARED, _S.SETTLING, _S.FAILED}),
    (_S.PAUSED, None): frozenset({_S.DROPPED}),
    # A timer that fires late changes nothing.
    (_S.DROPPED, Due): frozenset({_S.DROPPED}),
}

UNDER_WAY: Final = frozenset({_S.PREPARING, _S.STARTING, _S.SETTLING, _S.BURYING})
ON_THE_LAST_STEP: Final = frozenset({_S.STARTING, _S.SETTLING, _S.BURYING})
# State in which a paused message continues, by the state in which its try failed.
RESUME: Final = {
    _S.PREPARING: _S.WAITING,
    _S.STARTING: _S.PREPARED,
    _S.SETTLING: _S.SETTLING,
    _S.BURYING: _S.FAILED,
}
