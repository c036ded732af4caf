"""Examples of hypothesis in this suite do not depend on imported modules."""

import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def _examples() -> list[tuple[int, str]]:
    tried: list[tuple[int, str]] = []

    @given(st.integers(), st.text())
    def note(number: int, text: str) -> None:
        tried.append((number, text))

    note()
    return tried


@pytest.mark.skipif(
    settings.get_current_profile_name() != "same", reason="whoever searches wants other examples"
)
def test_examples_do_not_depend_on_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of ours with many constants in its source changes none of them."""
    before = _examples()
    constants = [*range(1_000_003, 1_000_203), *(f"constant {n}" for n in range(200))]
    (tmp_path / "many_constants.py").write_text(f"CONSTANTS = {constants!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("many_constants")
    try:
        assert before == _examples()
    finally:
        del sys.modules["many_constants"]
