"""Settings of the garbage collector hold inside, and are undone."""

import gc

from asyncbuild.runtime.garbage import rare_collections


def test_what_exists_is_left_out_of_collections_inside_and_no_longer() -> None:
    """Thousands of objects exist; a collection inside looks at the new ones alone."""
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_freeze_count() > 1_000
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_threshold()[1:] == before[1:]
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before
