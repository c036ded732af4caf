"""Choice of the pushes that the demo loses."""

import pytest

from asyncbuild.domain.errors import Reject
from asyncbuild.local.lost_pushes import choose_lost
from asyncbuild.local.workload import STORIES


def test_only_last_pushes_of_branches_that_are_built_and_stay_are_lost() -> None:
    """A round finds tips: what came before on the branch, or was deleted, it cannot find."""
    words = {"web": ["main", "develop", "main", "topic", "gone", "#v1", "topic", "-gone"]}
    assert choose_lost(words, 2, 1) == {("web", 2), ("web", 6)}
    with pytest.raises(Reject, match="only 2 pushes"):
        choose_lost(words, 3, 1)
    assert choose_lost({"new": ["main"]}, 0, 1) == set()


def test_the_same_seed_loses_the_same_pushes() -> None:
    """A run that went wrong can be repeated."""
    words = {name: story.split() for name, story in STORIES.items()}
    chosen = choose_lost(words, 5, 1)
    assert chosen == choose_lost(words, 5, 1)
    assert len(chosen) == 5
    assert {choose_lost(words, 5, seed) == chosen for seed in range(2, 9)} == {False}
