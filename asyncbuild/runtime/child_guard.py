"""Guard that ends all children, and their children, if this process ends or is killed.

A guard process waits for the end of a pipe that only this process holds. When the pipe ends, the
guard kills all processes with this process's mark in their environment: every `Child` gets it, and
passes it to the programs it starts (git-remote-https, index-pack, ssh).
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final

from asyncbuild.runtime import reaper
from asyncbuild.runtime.child import MARKS
from asyncbuild.runtime.emit import emit

MARK: Final = "ASYNCBUILD_CHILD_OF"


@contextmanager
def open_guard() -> Iterator[None]:
    """Guard the children that are started inside the context; they must have ended when it exits.

    Without a guard, where none can be started, the work goes on with a warning.
    """
    mark = uuid.uuid4().hex
    before = MARKS.get(MARK)
    with _started(f"{MARK}={mark}"):
        MARKS[MARK] = mark
        try:
            yield
        finally:
            del MARKS[MARK]
            if before is not None:
                MARKS[MARK] = before


@contextmanager
def _started(mark: str) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            reading, writing = os.pipe()
            stack.callback(os.close, writing)
            with os.fdopen(reading, "rb", buffering=0) as owner:
                guard = _start(mark, owner)
        except OSError as error:
            from asyncbuild.domain.events.service_events import GuardNone  # noqa: PLC0415 - rare

            emit(GuardNone(reason=str(error)))
        else:
            stack.callback(guard.wait)
            stack.callback(guard.kill)  # before its pipe ends: nothing is left to sweep
        yield


def _start(mark: str, owner: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - this file's neighbour
        [sys.executable, "-I", "-S", str(Path(reaper.__file__)), mark],
        stdin=owner,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,  # it must not end with this process's group
    )
