"""Settings of Python's garbage collector for a process that runs long."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_YOUNG_OBJECTS: Final = 10_000  # 700 by default, and 2,000 from Python 3.13 on


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect garbage less often while inside, and never look at the objects that exist now.

    These are the code, and the service models of the AWS clients: some 400,000 objects. A full
    collection took 0.15 s to look at them, and all pushes waited for it. Garbage in cycles is rare
    here, so collections may be rare, too.
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
