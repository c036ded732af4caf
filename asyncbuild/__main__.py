"""`python -m asyncbuild`, and what the installed command calls."""

import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being loaded is no traceback, either."""
    _open_what_is_closed()
    try:
        from asyncbuild.cli import main as run  # noqa: PLC0415 - that is the point
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


_STANDARD = (
    ("stdin", "r", os.O_RDONLY),
    ("stdout", "w", os.O_RDONLY),
    ("stderr", "w", os.O_WRONLY),
)


if __name__ == "__main__":
    main()
