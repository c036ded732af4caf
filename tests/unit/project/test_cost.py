"""docs/cost.md shows what bench/cost.py computes."""

import runpy

from support.stacks import ROOT


def test_the_page_has_the_computed_tables() -> None:
    """Whoever changes a price or an assumption changes both."""
    page = (ROOT / "docs" / "cost.md").read_text()
    for table in runpy.run_path(str(ROOT / "bench" / "cost.py"))["tables"]():
        assert table in page
