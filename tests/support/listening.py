"""The lines that are logged, as a test hears them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asyncbuild.runtime import log as logs

Lines = list[dict[str, Any]]


@contextmanager
def hearing() -> Iterator[Lines]:
    """Hear what is logged inside, by tasks that are begun inside; each line is a copy."""
    lines: Lines = []
    with logs.listening(lambda line: lines.append({**line})):
        yield lines
