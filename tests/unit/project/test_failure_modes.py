"""docs/failure-modes.md names a test for each claim; each exists."""

import re

import pytest
from support.stacks import ROOT

PAGE = (ROOT / "docs" / "failure-modes.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_named_test_exists(file: str, name: str) -> None:
    """Each is in the named file, under its name."""
    text = (ROOT / file).read_text()
    assert re.search(rf"\bdef {name}\(", text), f"{file} has no {name}"


def test_every_mode_names_a_test() -> None:
    """Each row of the tables names one, and says what is lost."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    modes = [row for row in rows if not row.startswith("| what breaks")]
    assert len(modes) > 15
    for row in modes:
        _, _what, _happens, lost, shown, _ = (cell.strip() for cell in row.split("|"))
        assert "::" in shown, row
        assert lost.startswith("nothing"), row
