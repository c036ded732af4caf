"""Waiting for conditions that raise no event."""

from collections.abc import Callable

import anyio

PATIENCE_SECONDS = 60


async def wait_until(condition: Callable[[], bool]) -> None:
    """Check the condition again and again, for a bounded time."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - files and processes raise no event
            await anyio.sleep(0.02)
