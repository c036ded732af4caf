"""How the service listens to signals, and stops listening."""

import os
import signal
from collections.abc import Iterator

import pytest

from asyncbuild.commands import serve as service

HEARD = signal.SIGUSR1


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Every action that the signal is given, in order; its own one again afterwards."""
    given: list[object] = []
    before, give = signal.getsignal(HEARD), signal.signal

    def note(number: signal.Signals, action: signal.Handlers) -> object:
        given.append(action)
        return give(number, action)

    monkeypatch.setattr(signal, "signal", note)
    yield given
    give(HEARD, before)


async def test_at_no_moment_a_signal_has_its_default_action_again(actions: list[object]) -> None:
    """It would kill what is cleaning up: from ours it goes to none at once."""
    with service._receiving([HEARD]) as received:
        for _ in range(3):
            os.kill(os.getpid(), HEARD)
            assert await anext(received) is HEARD
    os.kill(os.getpid(), HEARD)  # one more changes nothing
    ours, last = actions
    assert callable(ours)
    assert last is signal.SIG_IGN
