"""Settings of Python's garbage collector for a process that runs long."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_YOUNG_OBJECTS: Final = 10_000  # 700 by default, and 2,000 from Python 3.13 on


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect less often inside, and leave all that exists now out of it.

    That is the code, and what AWS's clients know about their services: some 400,000 objects, which
    a full collection looked at for 0.15 s each time, with all pushes waiting. Garbage in cycles is
    rare here, so it may wait for more of it.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
