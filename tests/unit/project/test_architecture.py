"""The documents agree with the code."""

import re
from pathlib import Path

from support.lane_diagram import diagram

_ROOT = Path(__file__).parents[3]


def test_the_lane_diagram_is_the_table() -> None:
    """A change of the table is a change of the diagram."""
    text = (_ROOT / "ARCHITECTURE.md").read_text()
    found = re.search(r"<!-- lane-diagram -->\n```mermaid\n(.*?)\n```", text, re.DOTALL)
    assert found
    assert found[1] == diagram()


def test_every_module_is_in_the_architecture() -> None:
    """The architecture names each module, so that it can be found."""
    text = (_ROOT / "ARCHITECTURE.md").read_text()
    modules = [
        str(path.relative_to(_ROOT / "asyncbuild"))
        for path in (_ROOT / "asyncbuild").rglob("*.py")
        if path.name not in {"__init__.py", "__main__.py"}
    ]
    assert [each for each in modules if f"`{each}`" not in text] == []


def test_every_invariant_is_cited() -> None:
    """An invariant cited by neither code nor tests has no effect."""
    sources = "".join(
        path.read_text()
        for folder in ("asyncbuild", "tests")
        for path in (_ROOT / folder).rglob("*.py")
    )
    missing = [n for n in range(1, 13) if not re.search(rf"\bI{n}\b", sources)]
    assert missing == []
