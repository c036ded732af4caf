"""Writing all of a chunk where a write may take a part of it only."""

from collections.abc import Callable


def write_all(write: Callable[[memoryview], int | None], chunk: bytes) -> None:
    """Write a chunk to a file that is not buffered, which may take less than all at a time.

    Args:
        write: The file's method, or `os.write` with its descriptor; returns the bytes taken.
        chunk: All of it is written.

    Raises:
        OSError: the file cannot be written.
    """
    rest = memoryview(chunk)
    while rest:
        rest = rest[write(rest) or 0 :]
