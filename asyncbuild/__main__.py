"""Entry point of `python -m asyncbuild` and of the installed command."""

import gc
import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C during its import prints no traceback.

    Raises:
        SystemExit: With 69 (EX_UNAVAILABLE) on a Python that cannot read the other modules.
    """
    _open_what_is_closed()
    if sys.version_info < _OLDEST_PYTHON:
        sys.stderr.write(
            "asyncbuild: Python {0}.{1} is older than {2}.{3}\n"
            "  remedy: install asyncbuild with Python {2}.{3} or newer\n".format(
                *sys.version_info[:2], *_OLDEST_PYTHON
            )
        )
        sys.exit(69)
    # Modules live as long as the process: a look for garbage among them finds none, and takes a
    # tenth of the start. `exit_codes.run_to_end` enables it again.
    gc.disable()
    try:
        from asyncbuild.commands.cli import main as run  # noqa: PLC0415 - that is the point
    except KeyboardInterrupt:
        sys.exit(130)
    run()


def _open_what_is_closed() -> None:
    """Open standard input, output and error on /dev/null if the parent process closed them.

    The next opened file would get the number, and then output that is meant for the terminal. Text
    for standard error is lost then; a write to standard output is an error.
    """
    for number, (name, mode, flags) in enumerate(_STANDARD):
        if getattr(sys, name) is None:
            os.open(os.devnull, flags)  # gets the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


# This module has no syntax that is newer than the Pythons that it refuses.
_OLDEST_PYTHON = (3, 11)
_STANDARD = (
    ("stdin", "r", os.O_RDONLY),
    ("stdout", "w", os.O_RDONLY),
    ("stderr", "w", os.O_WRONLY),
)


if __name__ == "__main__":
    main()
