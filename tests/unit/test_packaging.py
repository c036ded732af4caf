"""What is imported is declared: an installation without the developers' extras works."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
# aioboto3 is pinned, and pins these two exactly.
BROUGHT_BY_AIOBOTO3 = {"aiobotocore", "botocore"}
FOR_US = {"dev", "bench"}
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
    """A library that only the developers' machines have would be missed in the image."""
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
