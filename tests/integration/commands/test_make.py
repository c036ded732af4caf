"""The Makefile where a requirement is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.wait import PATIENCE_SECONDS

_ROOT = Path(__file__).parents[3]


def test_an_unreachable_package_index_is_one_line(tmp_path: Path) -> None:
    """The package, the cause, and the file with the rest of pip's output."""
    for name in ("Makefile", "pyproject.toml", "deploy/locks/dev.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_ROOT / name, tmp_path / name)
    lacking = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_RETRIES": "1",
    }
    done = subprocess.run(
        ["make", "demo", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        env={**os.environ, **lacking},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "Installing asyncbuild and what its tests need into .venv" in done.stdout
    said = done.stderr.splitlines()
    assert said[0] == "cannot install asyncbuild into .venv: the package index cannot be reached"
    assert said[1].startswith("  remedy: give this machine access to a Python package index")
    assert len(said) == 3, said  # make's own last line
    assert (tmp_path / ".venv" / "install.log").read_text()
