"""Start and end of listening to signals."""

import os
import signal
from collections.abc import Iterator

import pytest

from asyncbuild.commands import service_switch as service

HEARD = signal.SIGUSR1


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Record every handler that the signal is given, in order; restore its own one afterwards."""
    given: list[object] = []
    before, give = signal.getsignal(HEARD), signal.signal

    def note(number: signal.Signals, action: signal.Handlers) -> object:
        given.append(action)
        return give(number, action)

    monkeypatch.setattr(signal, "signal", note)
    yield given
    give(HEARD, before)


async def test_the_signal_never_has_its_default_action_again(actions: list[object]) -> None:
    """The default would kill the process during clean-up: the handler is replaced by ignoring."""
    with service._receiving([HEARD]) as received:
        for _ in range(3):
            os.kill(os.getpid(), HEARD)
            assert await anext(received) is HEARD
    os.kill(os.getpid(), HEARD)  # one more changes nothing
    ours, last = actions
    assert callable(ours)
    assert last is signal.SIG_IGN
