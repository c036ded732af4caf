"""Imported libraries are declared: an installation without the developers' extras works."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import asyncbuild

ROOT = Path(__file__).parents[3]
# aioboto3 is pinned, and pins these two exactly.
BROUGHT_BY_AIOBOTO3 = {"aiobotocore", "botocore"}
FOR_US = {"dev", "bench", "docs", "mutants"}
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
STUBS = re.compile(r"types_|typing_extensions$")


def imported() -> set[str]:
    """The top-level packages that the service imports, early or late."""
    names: set[str] = set()
    for path in (ROOT / "asyncbuild").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return {name for name in names if not STUBS.match(name)}


def declared() -> set[str]:
    """The names of the distributions that users install, extras of theirs included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].items()
    lists = [project["dependencies"], *(each for name, each in extras if name not in FOR_US)]
    found = [re.match(r"[A-Za-z0-9._-]+", each) for group in lists for each in group]
    return {match[0].lower() for match in found if match}


def test_every_import_is_a_declared_dependency() -> None:
    """A library that only developers have installed would be missing in the image."""
    distributions = packages_distributions()
    foreign = imported() - set(sys.stdlib_module_names) - {"asyncbuild"} - BROUGHT_BY_AIOBOTO3
    assert len(foreign) > 5
    missing = {
        name
        for name in foreign
        if not declared()
        & {name.replace("_", "-"), *(each.lower() for each in distributions.get(name, []))}
    }
    assert missing == set()


@pytest.mark.parametrize("name", ["build", "dev", "service"])
def test_a_lock_has_the_tested_versions_with_hashes(name: str) -> None:
    """Each entry has the version of constraints.txt, where it is listed there, and hashes."""
    pinned = dict(_PIN.findall((ROOT / "constraints.txt").read_text()))
    text = (ROOT / "deploy" / "locks" / f"{name}.txt").read_text().replace("\\\n", "")
    entries = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert entries
    for entry in entries:
        found = _PIN.match(entry)
        assert found, entry
        assert "--hash=sha256:" in entry, found[1]
        assert found[2] == pinned.get(found[1], found[2])


def test_the_lock_of_the_image_has_every_dependency_of_the_service() -> None:
    """A dependency that was added without `make lock` would be missing in the image."""
    text = (ROOT / "deploy" / "locks" / "service.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[^A-Za-z0-9._-]", each)[0].lower() for each in project["dependencies"]}
    assert wanted - {found.lower() for found, _ in _PIN.findall(text)} == set()


def test_mutated_modules_and_their_tests_exist() -> None:
    """A path that matches nothing would silently leave a module out of `make mutants`."""
    mutmut = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    paths = [*mutmut["only_mutate"], *mutmut["pytest_add_cli_args_test_selection"]]
    assert [path for path in (*paths, *mutmut["also_copy"]) if not any(ROOT.glob(path))] == []


@pytest.mark.skipif(
    "TESTED_WHEEL" not in os.environ, reason="`make test-wheel` alone tests a wheel"
)
def test_the_tested_wheel_is_what_runs() -> None:
    """Modules have the wheel's bytes; a child that runs in the checkout imports the same ones."""
    show = "import asyncbuild; print(asyncbuild.__file__)"
    command = [sys.executable, "-c", show]
    child = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert child.stdout.strip() == asyncbuild.__file__
    folder = Path(asyncbuild.__file__).parent
    with zipfile.ZipFile(os.environ["TESTED_WHEEL"]) as wheel:
        modules = [name for name in wheel.namelist() if name.endswith(".py")]
        assert len(modules) > 100
        assert [
            each for each in modules if (folder.parent / each).read_bytes() != wheel.read(each)
        ] == []
    assert folder != ROOT / "asyncbuild"


def test_git_ignores_no_file_of_the_package() -> None:
    """A pattern such as `build/` would leave a package out of every commit, wheel and lint."""
    files = [
        str(path.relative_to(ROOT))
        for folder in ("asyncbuild", "tests", "bench", "docs", "deploy")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=ROOT,
        input="\n".join(files),
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode in {1, 128}, asked.stdout  # 1: none; 128: not a checkout
