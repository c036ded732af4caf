"""Servers of measurements: modules of `support`, each in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from asyncbuild.local.servers import bound_child


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server: its address, and its process id."""

    url: str
    pid: int


@contextmanager
def open_server_process(module: str, *arguments: str) -> Iterator[ServerProcess]:
    """Run a module that prints its address first, and end it at the end.

    It ends with the thread that starts it, even if that is killed.

    Args:
        module: Full name.
        arguments: Its arguments.
    """
    assert bound_child.__file__ is not None
    bound = [sys.executable, "-I", "-S", bound_child.__file__, str(os.getpid())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [*bound, sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the parent alone
    ) as child:
        try:
            assert child.stdout is not None
            url = child.stdout.readline().strip()
            assert url, f"{module} ended at its start"
            yield ServerProcess(url, child.pid)
        finally:
            child.terminate()
