"""Delta archives of trees with everything in them that git can hold, against `git archive` (I9)."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.differential import open_differential

if TYPE_CHECKING:
    from asyncbuild.local.servers.children import LocalServer


@pytest.mark.parametrize("seed", range(1, 5))
async def test_deltas_are_what_git_archives(
    ministack: "LocalServer", tmp_path: Path, seed: int
) -> None:
    """Empty trees, submodules, links, odd modes, attributes, odd dates; `make search` has more."""
    async with open_differential(ministack) as differential:
        await differential.run_chain(seed, tmp_path, archives=12)
        assert differential.deltas
