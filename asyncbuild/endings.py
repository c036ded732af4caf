"""How a command ends: by itself, by a signal, or by an error that somebody foresaw."""

import errno
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import click

from asyncbuild.errors import StageError
from asyncbuild.tasks import leaves_of

INTERRUPTED = 130  # as shells count SIGINT; click would say 1
_TERMINATED = 143  # and SIGTERM
_EX_IOERR = 74
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# A closed pipe, and what Rich makes of it.
_NOBODY_READS = (BrokenPipeError, SystemExit)


def run_to_end(function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> Any:  # noqa: ANN401 - whatever the command gives
    """Run a command to its end; Ctrl-C ends the process.

    Raises:
        SystemExit: it was interrupted.
    """
    gc.freeze()  # modules live as long as the process: no collection need look at them again
    try:
        return anyio.run(function, *arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


@contextmanager
def taking_away() -> Iterator[None]:
    """SIGTERM, like Ctrl-C, takes away what was begun before it ends the process."""
    code = INTERRUPTED

    def interrupt(number: int, _: object) -> None:
        nonlocal code
        code = _TERMINATED
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except SystemExit as ending:
        sys.exit(code if ending.code == INTERRUPTED else ending.code)
    finally:
        signal.signal(signal.SIGTERM, before)


def _no_room_for_output(error: BaseException) -> str:
    """Why standard output could not be written, if it is that: a file's error names the file."""
    for leaf in leaves_of(error):
        if isinstance(leaf, OSError) and leaf.errno in _NO_ROOM and leaf.filename is None:
            return str(leaf.strerror)
    return ""


def exit_code_of(error: BaseException) -> int:
    """Say what went wrong in one message; the exit code that says it, too.

    Raises:
        BaseException: the error itself, if nobody foresaw it.
    """
    found = next((leaf for leaf in leaves_of(error) if isinstance(leaf, StageError)), None)
    if found is not None:
        click.echo(f"asyncbuild: {found.reason}", err=True)
        if found.remedy:
            click.echo(f"  remedy: {found.remedy}", err=True)
        return found.exit_code
    if why := _no_room_for_output(error):
        # What is still in the buffer would fail once more, at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"asyncbuild: standard output cannot be written: {why}", err=True)
        return _EX_IOERR
    if isinstance(error, BaseExceptionGroup) and error.split(_NOBODY_READS)[1] is None:
        return 1  # as click ends on a closed pipe
    raise error
