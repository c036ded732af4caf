"""Space that directories take on the disk, measured and freed. All of it blocks."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def measure(directory: Path) -> int:
    """Return the space of a directory on the disk, in bytes."""
    return sum(_allocated(directory))


def delete(directory: Path) -> None:
    """Delete a directory, as far as that is possible; errors are ignored."""
    shutil.rmtree(directory, ignore_errors=True)


def empty(directory: Path) -> None:
    """Empty a directory, for another way to fill it."""
    delete(directory)
    directory.mkdir()


def _allocated(directory: Path) -> Iterator[int]:
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                yield os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118 - hot
