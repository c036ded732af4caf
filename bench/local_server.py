"""Servers for measurements, each in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_server(script: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """Run a script of this directory that prints its address.

    Yield that address, and its process.
    """
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().strip(), child.pid
        finally:
            child.terminate()
