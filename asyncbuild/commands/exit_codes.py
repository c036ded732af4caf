"""Ends of a command: by itself, by a signal, or by an error that was foreseen.

The event loop is imported when a command runs: `--help` and `--version` end without one.
"""

import errno
import fcntl
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click

from asyncbuild.domain.errors import StageError
from asyncbuild.domain.foreign_text import plain

NOT_BUILT = 3  # `build` alone: its request was settled, and nothing was built
INTERRUPTED = 130  # as shells count SIGINT; click would say 1
_EX_IOERR = 74
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# A closed pipe, and the exception that Rich turns it into.
_NOBODY_READS = (BrokenPipeError, SystemExit)


def run_to_end(function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> Any:  # noqa: ANN401 - whatever the command gives
    """Run a command to its end and return its result; Ctrl-C ends the process.

    Raises:
        SystemExit: It was interrupted.
    """
    import anyio

    gc.freeze()  # modules live as long as the process, so no collection need look at them again
    gc.enable()  # `__main__` disables it
    try:
        return anyio.run(function, *arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def exit_unless_zero(code: int) -> None:
    """End the process with `code`, or return if that is 0.

    Raises:
        SystemExit: The code is another.
    """
    if code:
        sys.exit(code)


def run_taking_away(function: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> None:
    """Run a command to its end; SIGINT, SIGTERM and SIGHUP cancel it, so that it cleans up.

    Raises:
        SystemExit: It was interrupted.
    """
    from asyncbuild.runtime.signals import run_until_signal

    if code := run_to_end(run_until_signal, function, *arguments):
        sys.exit(code)


def _no_room_for_output(error: BaseException) -> str:
    """Return why standard output cannot be written, if so; an error of a file names the file."""
    from asyncbuild.runtime.tasks import leaves_of

    causes = {*_NO_ROOM, errno.EBADF} if _is_output_closed() else _NO_ROOM
    for leaf in leaves_of(error):
        if isinstance(leaf, OSError) and leaf.errno in causes and leaf.filename is None:
            return str(leaf.strerror)
    return ""


def _is_output_closed() -> bool:
    """Return whether the parent process closed standard output; `__main__` made it read-only."""
    try:
        return fcntl.fcntl(sys.stdout, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    except (OSError, ValueError):  # it is not a file
        return False


def exit_code_of(error: BaseException) -> int:
    """Print an error as one message and return its exit code.

    Raises:
        BaseException: The error itself, if it is not one that asyncbuild classifies.
    """
    from asyncbuild.runtime.tasks import leaves_of

    found = next((leaf for leaf in leaves_of(error) if isinstance(leaf, StageError)), None)
    if found is not None:
        most = len(found.reason) + len(found.remedy)
        click.echo(f"asyncbuild: {plain(found.reason, most, lines=True)}", err=True)
        if found.remedy:
            click.echo(f"  remedy: {plain(found.remedy, most, lines=True)}", err=True)
        return found.exit_code
    if why := _no_room_for_output(error):
        # The rest of the buffer would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        click.echo(f"asyncbuild: standard output cannot be written: {why}", err=True)
        return _EX_IOERR
    if isinstance(error, BaseExceptionGroup) and error.split(_NOBODY_READS)[1] is None:
        return 1  # as click ends on a closed pipe
    raise error
