"""Pace of uploads that are no push's: they leave the network to those that are."""

import anyio
import pytest

from asyncbuild.storage.file_upload import SendingPace

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the loop's time by one that passes only in sleeps; its one item is the time."""
    now = [100.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(anyio, "sleep", sleep)
    monkeypatch.setattr(anyio, "current_time", lambda: now[0])
    return now


async def test_no_more_is_sent_than_the_rate_permits(clock: list[float]) -> None:
    """However small the pieces are; time in which nothing was sent is not made up for."""
    pace = SendingPace(1_000_000)
    for _ in range(1_000):
        await pace.keep(3_000)
    assert clock[0] - 100 == pytest.approx(3, abs=0.03)
    clock[0] += 50
    for _ in range(100):
        await pace.keep(10_000)
    assert clock[0] - 153 == pytest.approx(1, abs=0.06)


async def test_without_a_rate_nothing_waits(clock: list[float]) -> None:
    """0 means no limit."""
    await SendingPace(0).keep(2**60)
    assert clock == [100.0]
