"""Signals that ask a process to end."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from asyncbuild.runtime.tasks import open_background


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return SIGTERM, and of SIGINT and SIGHUP those that were not ignored when the process began.

    A shell makes its background processes ignore Ctrl-C, and nohup(1) the end of the terminal:
    those signals stay ignored.
    """
    asked = (signal.SIGINT, signal.SIGHUP)
    heard = (each for each in asked if signal.getsignal(each) is not signal.SIG_IGN)
    return (signal.SIGTERM, *heard)


@asynccontextmanager
async def open_until_signal(*but: signal.Signals) -> AsyncIterator[list[int]]:
    """Cancel the block when a signal asks to end.

    The block's clean-up is not interrupted, however many more signals come: they are received until
    it ends.

    Args:
        but: Signals that are not handled here.

    Yields:
        Exit codes as shells count them, 128 and the signal's number: one for each signal that came.
    """
    codes: list[int] = []

    async def end(received: AsyncIterator[signal.Signals], scope: anyio.CancelScope) -> None:
        async for number in received:
            codes.append(128 + number)
            scope.cancel()

    heard = (each for each in ending_signals() if each not in but)
    with anyio.open_signal_receiver(*heard) as received:
        async with open_background() as tasks:
            tasks.start_soon(end, received, tasks.cancel_scope)
            yield codes


async def run_until_signal(function: Callable[..., Awaitable[Any]], *arguments: object) -> int:
    """Call a function, and cancel it when a signal asks to end.

    Returns:
        The exit code as shells count it, 128 and the signal's number; 0 if none came.
    """
    async with open_until_signal() as codes:
        await function(*arguments)
    return codes[0] if codes else 0
