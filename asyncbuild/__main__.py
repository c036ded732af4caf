"""`python -m asyncbuild`, and what the installed command calls."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being loaded is no traceback, either."""
    try:
        from asyncbuild.cli import main as run  # noqa: PLC0415 - that is the point
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
