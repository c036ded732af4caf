"""Room on this machine: for temporary files, for servers, and ports."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asyncbuild.config.sections import MIB
from asyncbuild.domain.errors import ConfigError
from asyncbuild.runtime.scratch import free_bytes

REMEDY_TEMPORARY = "name a directory with more room with the environment variable TMPDIR"

_AS_GOOD_AS_FULL_BYTES = 4 * MIB


def require_room(directory: Path, needed_bytes: int, needs: str, remedy: str) -> None:
    """Refuse to begin work for which a disk has no room.

    Args:
        directory: Directory of the files; it need not exist yet.
        needed_bytes: Approximate size of the files.
        needs: Subject and verb for the error, such as `the demo needs`.
        remedy: What to do.

    Raises:
        ConfigError: The disk has less room.
    """
    free = free_bytes(directory)
    if free < needed_bytes:
        raise ConfigError(
            f"{directory} has {free:,} bytes free, and {needs} about {needed_bytes:,}",
            remedy=remedy,
        )


@contextmanager
def telling_of_room(directory: Path) -> Iterator[None]:
    """Turn an error inside into one that says that a directory is full, if it is.

    Programs report a full disk in many ways: git, a server's log, a pipe that broke.

    Raises:
        ConfigError: The directory is full.
    """
    try:
        yield
    except Exception as error:
        free = free_bytes(directory)
        if free < _AS_GOOD_AS_FULL_BYTES:
            reason = f"{directory} is full: {free:,} bytes free"
            raise ConfigError(reason, remedy=REMEDY_TEMPORARY) from error
        raise
