"""Signals for child processes that may be ending at this very moment."""

import os
import signal
from contextlib import suppress

from anyio.abc import Process


def send_signal(process: Process, number: signal.Signals) -> None:
    """Send a signal, if the process is still there.

    Not `process.send_signal`: that polls, and so reaps a child that has just ended behind asyncio's
    back, which then knows nothing better than 255 for its exit code.
    """
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)
