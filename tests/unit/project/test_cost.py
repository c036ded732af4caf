"""docs/cost.md shows what bench/cost.py computes."""

import runpy

from support.stacks import ROOT


def test_the_page_has_the_computed_tables() -> None:
    """A change of a price or an assumption changes the page, too."""
    page = (ROOT / "docs" / "cost.md").read_text()
    for table in runpy.run_path(str(ROOT / "bench" / "cost.py"))["tables"]():
        assert table in page
