"""Writer of whole chunks to files that may take a part of each at a time."""

from collections.abc import Callable


def write_all(write: Callable[[memoryview], int | None], chunk: bytes) -> None:
    """Write a whole chunk to an unbuffered file, which may take only a part of it at a time.

    Args:
        write: The file's method, or `os.write` with its descriptor; returns the bytes taken.
        chunk: The chunk.

    Raises:
        OSError: The file cannot be written.
    """
    rest = memoryview(chunk)
    while rest:
        rest = rest[write(rest) or 0 :]
