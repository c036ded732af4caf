"""Scripts of `bench/`, which no type checker and no test runs, still find what they import."""

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
"""  # another one may be missing: of the extra `bench`


def test_all_scripts_find_what_they_import_of_the_product() -> None:
    """A name that was moved or changed is missed at once."""
    names = sorted(path.stem for path in _BENCH.glob("*.py"))
    assert "engine" in names
    subprocess.run(
        [sys.executable, "-c", _IMPORT, *names],
        cwd=_BENCH,
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
        check=True,
    )
