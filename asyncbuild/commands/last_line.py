"""Last line of a service's JSON log: the error that ends it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from asyncbuild.commands import log_setup
from asyncbuild.config.sections import LogSettings
from asyncbuild.domain.errors import Kind, StageError
from asyncbuild.domain.events.service_events import ServiceFailed
from asyncbuild.runtime.emit import emit
from asyncbuild.runtime.tasks import leaves_of

_EX_SOFTWARE = 70


@contextmanager
def logging_the_end() -> Iterator[Callable[[LogSettings], None]]:
    """Write an error that ends the service as the JSON log's last line: `service.failed`.

    On a terminal the error is raised further, to be shown as those of other commands are.

    Yields:
        A function that sets the log up by the configuration. Until then the environment decides,
        because the configuration itself may be at fault.

    Raises:
        SystemExit: With the exit code that the line names.
    """
    as_json = log_setup.configure(_format_of_environment())

    def configure(settings: LogSettings) -> None:
        nonlocal as_json
        as_json = log_setup.configure(settings)

    try:
        yield configure
    except Exception as error:
        if not as_json:
            raise
        sys.exit(_log_end(error))


def _log_end(error: Exception) -> int:
    found = next((leaf for leaf in leaves_of(error) if isinstance(leaf, StageError)), None)
    if found is None:
        bug = ServiceFailed(
            kind=Kind.BUG,
            reason=f"internal error: {error!r}",
            remedy="report it, with this line; what was in flight comes back to the queue",
            exit_code=_EX_SOFTWARE,
        )
        emit(bug, error=error)
        return _EX_SOFTWARE
    emit(
        ServiceFailed(
            kind=found.kind,
            reason=found.reason,
            remedy=found.remedy,
            exit_code=found.exit_code,
        )
    )
    return found.exit_code


def _format_of_environment() -> LogSettings:
    """Return the log format of the environment, for errors before the configuration was read."""
    wanted = os.environ.get("ASYNCBUILD_LOG__FORMAT", "auto")
    return LogSettings(format="json" if wanted == "json" else "auto")
