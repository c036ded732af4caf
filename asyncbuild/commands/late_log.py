"""Log of a command that mostly writes none: set up when its first line is written.

structlog takes longer to load than a small archive to make.
"""

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from asyncbuild.config.sections import LogSettings
from asyncbuild.runtime.emit import set_up_at_first_line


def configure_late(settings: LogSettings) -> None:
    """Set up the log as `log_setup.configure` does, but only before its first line.

    Events, records of libraries, warnings of Python and uncaught errors are such lines.
    """
    done = False

    def configure() -> None:
        nonlocal done
        if done:
            return
        done = True
        from asyncbuild.commands import log_setup  # noqa: PLC0415 - that is the point

        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        log_setup.configure(settings)

    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    set_up_at_first_line(configure)
    level = max(logging.getLevelNamesMapping()[settings.level.upper()], logging.WARNING)
    logging.basicConfig(level=level, handlers=[_FirstRecord(configure)], force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _first(configure, lambda: sys.excepthook)
    threading.excepthook = _first(configure, lambda: threading.excepthook)
    sys.unraisablehook = _first(configure, lambda: sys.unraisablehook)


class _FirstRecord(logging.Handler):
    """Handler that sets the log up, and passes its first record on to the handler of then."""

    def __init__(self, configure: Callable[[], None]) -> None:
        super().__init__()
        self._configure = configure

    def emit(self, record: logging.LogRecord) -> None:
        self._configure()
        logging.getLogger(record.name).handle(record)


def _first(configure: Callable[[], None], find: Callable[[], Any]) -> Callable[..., None]:
    """Return a hook that sets the log up, and calls the hook that is in its place then."""

    def hook(*arguments: Any) -> None:  # noqa: ANN401 - as Python calls each of the three
        configure()
        find()(*arguments)

    return hook
