"""`python -m asyncbuild`, and what the installed command calls."""

import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being loaded is no traceback, either.

    Raises:
        SystemExit: with 69 (EX_UNAVAILABLE) on a Python that cannot read the other modules.
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
    try:
        from asyncbuild.commands.cli import main as run  # noqa: PLC0415 - that is the point
    except KeyboardInterrupt:
        sys.exit(130)
    run()


def _open_what_is_closed() -> None:
    """Give standard input, output and error a descriptor where whoever started us closed it.

    The next file that is opened would get its number, and then what is meant for the terminal.
    What is said on standard error is lost; what is written to standard output is an error.
    """
    for number, (name, mode, flags) in enumerate(_STANDARD):
        if getattr(sys, name) is None:
            os.open(os.devnull, flags)  # gets the lowest number that is free, which is this one
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
