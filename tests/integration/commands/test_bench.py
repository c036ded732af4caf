"""Imports of scripts in `bench/`, which no type checker and no test runs."""

import os
import subprocess
import sys
from pathlib import Path

_BENCH = Path(__file__).parents[3] / "bench"
_TESTS = Path(__file__).parents[2]
_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"asyncbuild", "support"}:
            raise
"""  # other modules, of the extra `bench`, may be missing


def test_all_scripts_find_their_imports_from_the_package() -> None:
    """A name that was moved or changed is detected at once."""
    names = sorted(path.stem for path in _BENCH.glob("*.py"))
    assert "engine" in names
    subprocess.run(
        [sys.executable, "-c", _IMPORT, *names],
        cwd=_BENCH,
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
        check=True,
    )
