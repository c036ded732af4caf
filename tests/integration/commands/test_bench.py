"""Scripts of `bench/`, which no type checker and no test runs, still find what they import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_BENCH = Path(__file__).parents[3] / "bench"
_TESTS = Path(__file__).parents[2]
_IMPORT = """
import importlib, sys
try:
    importlib.import_module(sys.argv[1])
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] in {"asyncbuild", "support"}:
        raise
"""  # another one may be missing: of the extra `bench`


@pytest.mark.parametrize("name", sorted(path.stem for path in _BENCH.glob("*.py")))
def test_a_script_finds_what_it_imports_of_the_product(name: str) -> None:
    """A name that was moved or changed is missed at once."""
    subprocess.run(
        [sys.executable, "-c", _IMPORT, name],
        cwd=_BENCH,
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
        check=True,
    )
