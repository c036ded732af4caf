"""Delta archives of trees with everything that git can store, against `git archive` (I9)."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.differential import open_differential

if TYPE_CHECKING:
    from asyncbuild.local.servers.children import LocalServer


@pytest.mark.parametrize("seed", range(1, 5))
async def test_random_deltas_equal_gits_archives(
    ministack: "LocalServer", tmp_path: Path, seed: int
) -> None:
    """Empty trees, submodules, links, odd modes, attributes, odd dates.

    `make search` tries more.
    """
    async with open_differential(ministack) as differential:
        await differential.run_chain(seed, tmp_path, archives=12)
        assert differential.deltas
